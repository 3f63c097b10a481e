"""`python -m theory_checks verify DIR`: an export, ours or foreign, evaluated from its files alone against its claims.

Definitions 4-8 in plain numpy; then in real balls, which enclose the exact function of the stored weights; and, where
an equality is claimed of layers without softmax, in rationals. The strongest evidence decides a claim.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import flint
import numpy as np

from constructions import ball_evaluation, claims, evaluation
from constructions.balls import fill, norm, to_balls
from constructions.claims import Claim
from constructions.command_line import Progress, require_writable, run_command, write_all
from constructions.errors import InputError
from constructions.number_system import Balls, NumberSystem, Rationals
from constructions.outputs import PRECISIONS, finite
from constructions.transformer import Transformer
from constructions.weights import Array, HeadWeights, TransformerWeights
from theory_checks.verify_command import BITS, MOST_OPERATIONS, parser

Verdict = Literal["holds", "false", "vacuous"]
Evidence = Literal["exact", "certified", "sampled"]
SCHEMA = 1
MOST_EXACT_OPERATIONS = 10**7
"""Multiplications of the literal evaluation up to which rationals are taken at all."""
MOST_BITS = 2**17
"""Of a rational in the stream; an exact evaluation in which they grow further is given up."""
BLOCK = 2**22
"""Scores or hidden units held at a time."""


@dataclass(frozen=True)
class Finding:
    """A claim and, of its rows or entries, the one with the least slack: its error `found` beside its bound."""

    name: str
    layers: tuple[int, int]
    found: float
    bound: float
    evidence: Evidence
    bits: int | None  # of the balls that decided it
    verdict: Verdict

    @property
    def slack(self) -> float | None:
        """1 − found/bound; None where the bound is 0 or the error not finite."""
        return 1 - self.found / self.bound if self.bound > 0 and np.isfinite(self.found) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all claims hold, 1 when one is false, 2 with one sentence on bad input."""
    return run_command(lambda: run(parser().parse_args(arguments)))


def run(options: argparse.Namespace) -> int:
    """Verify as the options say; 1 when a claim is false."""
    least, most = PRECISIONS
    if options.precision is not None and not least <= options.precision <= most:
        raise InputError(f"--precision is {options.precision}; it must lie between {least} and {most} bits")
    if options.json is not None:
        require_writable(options.json)
    transformer, listed = claims.read(options.folder)
    affordable = max(operations(transformer, claim) for claim in listed) <= MOST_OPERATIONS
    bits = options.precision or (BITS if affordable else None)
    with Progress("layer") as progress:
        findings = verify(transformer, listed, bits, progress)
    print(table(findings))
    if bits is None:
        print(f"more than {MOST_OPERATIONS:.0e} multiplications: in float64 alone; --precision {BITS} asks for balls")
    if options.json is not None:
        content = {"schema": SCHEMA, "findings": [_entry(finding) for finding in findings]}
        write_all({options.json: f"{json.dumps(content, indent=2, allow_nan=False)}\n".encode()})
    return int(any(finding.verdict == "false" for finding in findings))


def verify(
    transformer: Transformer,
    listed: Sequence[Claim],
    bits: int | None = BITS,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Finding]:
    """What becomes of every claim, in its order; `bits` None: in float64 alone.

    `progress(done, of)` is called after every layer of an evaluation.
    """
    findings = {claim: judge_floats(claim, h) for claim, h in evaluated(listed, FloatTrace(transformer), progress)}
    undecided = list(listed) if bits is not None else []
    for precision in (bits, 2 * bits, 4 * bits) if bits is not None else ():
        with flint.ctx.workprec(precision):
            for claim, h in list(evaluated(undecided, BallTrace(transformer), progress)):
                found = judge_balls(claim, h, precision)
                # Balls cannot prove an equality that rounding has touched, however small they are.
                if found is None and not claim.bound.any():
                    found = judge_rationals(transformer, claim) or findings[claim]
                if found is not None:
                    findings[claim] = found
                    undecided.remove(claim)
    return [findings[claim] for claim in listed]


class FloatTrace:
    """Definitions 4-8 in float64, block by block of tokens."""

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer

    def __call__(self, tokens: Array, start: int, stop: int) -> Iterator[Array]:
        """The stream after every layer of schedule[start:stop]."""
        h = tokens
        for index in self.transformer.schedule[start:stop]:
            layer = self.transformer.stored_layers[index]
            with np.errstate(all="ignore"):  # what is not finite meets no bound
                if layer.attention is not None:
                    heads = [head.weights for head in layer.attention.stored_heads]
                    h = h + sum(attend(head, layer.attention.activation == "softmax", h) for head in heads)
                if layer.mlp is not None:
                    w1, w2 = (matrix.double().numpy() for matrix in (layer.mlp.w1, layer.mlp.w2))
                    h = h + np.concatenate([np.maximum(b @ w1.T, 0) @ w2.T for b in _blocks(h, len(w1))])
            yield h


def attend(head: HeadWeights, softmax: bool, h: Array) -> Array:
    """Σ_j a(⟨Q h_i, K h_j⟩) V h_j for every token i: a = softmax over j (Definition 4), or relu/N (Definition 7)."""
    keys, values, pooled = h @ head.key.T, h @ head.value.T, []
    for queries in _blocks(h @ head.query.T, len(h)):
        scores = queries @ keys.T
        if softmax:
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
        else:
            weights = np.maximum(scores, 0) / len(h)
        pooled.append(weights @ values)
    return np.concatenate(pooled) @ head.output.T


def _blocks(rows: Array, columns: int) -> list[Array]:
    """The rows in blocks, of each of which BLOCK numbers are held if it meets so many columns."""
    size = max(1, BLOCK // max(1, columns))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class BallTrace:
    """Definitions 4-8 in balls of flint's precision."""

    def __init__(self, transformer: Transformer) -> None:
        self.weights = ball_evaluation.from_transformer(transformer)

    def __call__(self, tokens: Array, start: int, stop: int) -> Iterator[Array]:
        """Enclosures of the stream after every layer of schedule[start:stop]."""
        part = ball_evaluation.BallTransformer(self.weights.layers, self.weights.schedule[start:stop])
        return ball_evaluation.trace(part, to_balls(tokens))


def evaluated(
    listed: Sequence[Claim], trace: FloatTrace | BallTrace, progress: Callable[[int, int], None]
) -> Iterator[tuple[Claim, Array]]:
    """Every claim with the stream that it reads; what starts from the same tokens at the same layer runs once."""
    starts = {(claim.source, claim.layers[0]): claim.input for claim in listed}
    total, done = sum(max(_stops(listed, key)) - key[1] for key in starts), 0
    for key, tokens in starts.items():
        for place, h in enumerate(trace(tokens, key[1], max(_stops(listed, key))), start=key[1] + 1):
            done += 1
            progress(done, total)
            yield from ((claim, h) for claim in listed if (claim.source, *claim.layers) == (*key, place))


def _stops(listed: Sequence[Claim], key: tuple[str, int]) -> list[int]:
    return [claim.layers[1] for claim in listed if (claim.source, claim.layers[0]) == key]


def judge_floats(claim: Claim, stream: Array) -> Finding:
    """Sampled: the error in float64 against bound + rounding."""
    reference = claim.reference.astype(np.float64)
    with np.errstate(all="ignore"):
        difference = claim.read_out(stream, claim.tokens) - reference
        errors = np.abs(difference) if claim.norm == "absolute" else np.linalg.norm(difference, axis=1)
    limits = claim.bound + claim.rounding
    return _finding(claim, errors, limits, bool((errors <= limits).all()), "sampled")


def judge_balls(claim: Claim, stream: Array, bits: int) -> Finding | None:
    """Certified: the balls agree that every error is within its bound, or that one is not; None if they do not."""
    difference = _difference(claim, stream, Balls())
    errors = norm(difference) if claim.norm == "euclidean" else _each(abs, difference)
    pairs = list(zip(errors.ravel(), to_balls(claim.bound).ravel(), strict=True))
    holds = all(error <= bound for error, bound in pairs)
    if not holds and not any(error > bound for error, bound in pairs):
        return None
    upper = _each(lambda error: float(error.abs_upper()), errors).astype(np.float64)
    return _finding(claim, upper, claim.bound, holds, "certified", bits)


def judge_rationals(transformer: Transformer, claim: Claim) -> Finding | None:
    """Exact: every error in rational arithmetic; None where there is softmax, or where that would take too long."""
    if operations(transformer, claim) > MOST_EXACT_OPERATIONS:
        return None
    numbers, schedule = Rationals(), transformer.schedule[slice(*claim.layers)]
    weights = evaluation.exact_weights(transformer, numbers)
    if any(weights.layers[index].heads and weights.layers[index].activation == "softmax" for index in schedule):
        return None
    h = tokens = _lifted(claim.input, numbers)
    for h in evaluation.trace(TransformerWeights(weights.layers, schedule), tokens, numbers):
        if max(entry.height_bits() for entry in h.ravel()) > MOST_BITS:
            return None
    difference, bound = _difference(claim, h, numbers), _lifted(claim.bound, numbers)
    squares = difference * difference
    if claim.norm == "euclidean":
        squares = squares.sum(axis=1)
    holds = bool((squares <= bound * bound).all())
    return _finding(claim, np.sqrt(squares.astype(np.float64)), claim.bound, holds, "exact")


def operations(transformer: Transformer, claim: Claim) -> int:
    """Multiplications of the literal evaluation: N·(numbers in the layer's matrices) + N²(r + s) for every head."""
    tokens, total = len(claim.input), 0
    for index in transformer.schedule[slice(*claim.layers)]:
        layer = transformer.stored_layers[index]
        total += tokens * sum(matrix.numel() for matrix in layer.parameters())
        for head in layer.attention.stored_heads if layer.attention is not None else ():
            total += tokens**2 * (len(head.query) + len(head.value))
    return total


def _difference(claim: Claim, stream: Array, numbers: NumberSystem) -> Array:
    """Read-out minus reference, in the stream's number system."""
    pooling = claim.tokens
    if pooling is not None and pooling.ndim == 2:
        pooling = _lifted(pooling, numbers)
    return np.asarray(claim.read_out(stream, pooling) - _lifted(claim.reference, numbers))


def _lifted(array: Array, numbers: NumberSystem) -> Array:
    return _each(numbers.number, array)


def _each(function: Callable[[Any], Any], array: Array) -> Array:
    return fill(map(function, array.ravel().tolist()), array.shape)


def _finding(
    claim: Claim, errors: Array, limits: Array, holds: bool, evidence: Evidence, bits: int | None = None
) -> Finding:
    """The row or entry with the largest error/limit; one whose error is not finite comes before all others."""
    with np.errstate(all="ignore"):
        ratio = np.nan_to_num(errors / limits, nan=0.0, posinf=np.inf)  # 0/0: an equality that holds
    worst = np.unravel_index(np.where(np.isnan(errors), np.inf, ratio).argmax(), errors.shape)
    verdict: Verdict = "false" if not holds else "vacuous" if claim.bound.max() >= claim.trivial else "holds"
    return Finding(claim.name, claim.layers, float(errors[worst]), float(limits[worst]), evidence, bits, verdict)


def table(findings: Sequence[Finding]) -> str:
    """One line a claim, then how many hold on what evidence."""
    width = max(len("claim"), *(len(finding.name) for finding in findings))
    lines = [
        f"{'claim':{width}s}  {'layers':>9s}  {'found':>10s}  {'<= bound':>10s}  {'slack':>8s}  evidence        verdict"
    ]
    for f in findings:
        slack = "-" if f.slack is None else f"{f.slack:.2g}"
        evidence = f.evidence if f.bits is None else f"{f.evidence}, {f.bits}"
        place, numbers = f"{f.layers[0]}-{f.layers[1]}", f"{f.found:10.3e}  {f.bound:10.3e}"
        lines.append(f"{f.name:{width}s}  {place:>9s}  {numbers}  {slack:>8s}  {evidence:14s}  {f.verdict}")
    counted = Counter((f.verdict, f.evidence) for f in findings)
    groups = ", ".join(f"{number} {verdict} ({evidence})" for (verdict, evidence), number in counted.items())
    return "\n".join([*lines, "", f"{len(findings)} claim{'s' * (len(findings) > 1)}: {groups}"])


def _entry(found: Finding) -> dict[str, Any]:
    numbers = {"found": finite(found.found), "bound": found.bound, "slack": found.slack}
    return {**asdict(found), **numbers}
