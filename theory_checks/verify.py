"""`python -m theory_checks verify DIR`: an export, ours or foreign, evaluated from its files alone against its claims.

Definitions 4-8 in plain numpy; then in real balls, which enclose the exact function of the stored weights; and, where
an equality is claimed of layers without softmax, in rationals. The strongest evidence decides a claim.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import inf
from typing import Any, Literal

import flint
import numpy as np

from constructions import claims, outputs
from constructions.balls import fill, norm, to_balls
from constructions.claims import Claim
from constructions.command_line import Progress, require_writable, run_command, write_all
from constructions.errors import InputError
from constructions.number_system import Balls, NumberSystem, Rationals
from constructions.outputs import PRECISIONS
from constructions.transformer import Transformer
from constructions.weights import Array
from theory_checks.traces import BallTrace, FloatTrace, Operations, RationalTrace, Trace
from theory_checks.verify_command import BITS, MOST_OPERATIONS, parser

Verdict = Literal["holds", "false", "vacuous", "undecided"]
Evidence = Literal["exact", "certified", "sampled"]
SCHEMA = 1
MOST_EVALUATED = 100_000
"""Layers, of all claims together."""


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
    """0 when every claim holds or is vacuous, 1 when one is false or undecided, 2 with one sentence on bad input."""
    return run_command(lambda: run(parser().parse_args(arguments)))


def run(options: argparse.Namespace) -> int:
    """Verify as the options say; 1 when a claim is false or undecided."""
    least, most = PRECISIONS
    if options.precision is not None and not least <= options.precision <= most:
        raise InputError(f"--precision is {options.precision}; it must lie between {least} and {most} bits")
    if options.json is not None:
        require_writable(options.json)
    export = claims.read_export(options.folder)
    transformer, listed = export.transformer, export.claims
    layers, largest, total = cost(transformer, listed)
    if layers > MOST_EVALUATED:
        raise InputError(
            f"the claims of {str(options.folder)!r} need {layers} evaluations of a layer, from all that they start "
            f"from; the limit is {MOST_EVALUATED}"
        )
    affordable = largest <= MOST_OPERATIONS and total <= 10 * MOST_OPERATIONS
    bits = options.precision or (BITS if affordable else None)
    with Progress("layer") as progress:
        findings = verify(transformer, listed, bits, progress)
    print(table(findings))
    print(seal(export.sealed))
    if bits is None:
        print(f"more than {MOST_OPERATIONS:.0e} multiplications: in float64 alone; --precision {BITS} asks for balls")
    if options.json is not None:
        content = {"schema": SCHEMA, "sealed": export.sealed > 0, "findings": [_entry(finding) for finding in findings]}
        write_all({options.json: f"{json.dumps(content, indent=2, allow_nan=False)}\n".encode()})
    return int(any(finding.verdict in ("false", "undecided") for finding in findings))


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
    if bits is None:
        return [findings[claim] for claim in listed]
    left, balls = list(listed), BallTrace(transformer)
    # Balls cannot prove an equality that rounding has touched, however small they are: rationals before more bits.
    for precision in (bits, None, 2 * bits, 4 * bits):
        with flint.ctx.workprec(precision or bits):
            trace, judge = (
                (balls, partial(judge_balls, bits=precision))
                if precision is not None
                else (RationalTrace(transformer), judge_rationals)
            )
            decided = {claim: judge(claim, h) for claim, h in evaluated(left, trace, progress)}
        findings |= {claim: found for claim, found in decided.items() if found is not None}
        left = [claim for claim in left if decided.get(claim) is None]
        if not left:
            break
    for claim in left:  # so close to its bound, or so wide an enclosure, that what floats exceed is no refutation
        if findings[claim].verdict == "false":
            findings[claim] = replace(findings[claim], verdict="undecided")
    return [findings[claim] for claim in listed]


def cost(transformer: Transformer, listed: Sequence[Claim]) -> tuple[int, int, int]:
    """Layers that are evaluated, and multiplications of the literal evaluation: the most from one start, and of all."""
    operations, layers, costs = Operations(transformer), 0, []
    for (_, start), ends in _starts(listed).items():
        layers += max(ends) - start
        costs.append(operations(len(next(iter(ends.values()))[0].input), start, max(ends)))
    return layers, max(costs), sum(costs)


def evaluated(
    listed: Sequence[Claim], trace: Trace, progress: Callable[[int, int], None]
) -> Iterator[tuple[Claim, Array]]:
    """Every claim with the stream that it reads; what starts from the same tokens at the same layer runs once.

    A claim whose stream the trace does not reach is left out.
    """
    starts = _starts(listed)
    done, total = 0, sum(max(ends) - start for (_, start), ends in starts.items())
    for (_, start), ends in starts.items():
        tokens = next(iter(ends.values()))[0].input
        for place, h in enumerate(trace(tokens, start, max(ends)), start=start + 1):
            done += 1
            progress(done, total)
            yield from ((claim, h) for claim in ends.get(place, ()))


def _starts(listed: Sequence[Claim]) -> dict[tuple[str, int], dict[int, list[Claim]]]:
    """By tokens and first layer, then by last layer: claims."""
    starts: dict[tuple[str, int], dict[int, list[Claim]]] = {}
    for claim in listed:
        start, stop = claim.layers
        starts.setdefault((claim.source, start), {}).setdefault(stop, []).append(claim)
    return starts


def judge_floats(claim: Claim, stream: Array) -> Finding:
    """Sampled: the errors in float64 against bound + rounding; one that leaves its range decides nothing."""
    reference = fill(map(_nearest, claim.reference.ravel().tolist()), claim.reference.shape).astype(np.float64)
    with np.errstate(all="ignore"):
        errors = np.abs(claim.read_out(stream, claim.tokens) - reference)
        if claim.norm == "euclidean":
            errors = _norms(errors)
    limits = claim.bound + claim.rounding
    finite = np.isfinite(errors)
    holds = False if (errors[finite] > limits[finite]).any() else True if finite.all() else None
    return _finding(claim, errors, limits, holds, "sampled")


def judge_balls(claim: Claim, stream: Array, bits: int) -> Finding | None:
    """Certified: the balls agree that every error is within its bound, or that one is not; None if they do not."""
    difference = _difference(claim, stream, Balls())
    errors = norm(difference) if claim.norm == "euclidean" else _each(abs, difference)
    pairs = list(zip(errors.ravel(), to_balls(claim.bound).ravel(), strict=True))
    holds = all(error <= bound for error, bound in pairs)
    if not holds and not any(error > bound for error, bound in pairs):
        return None
    upper = _each(_upper, errors).astype(np.float64)
    return _finding(claim, upper, claim.bound, holds, "certified", bits)


def judge_rationals(claim: Claim, stream: Array) -> Finding:
    """Exact: every error in rational arithmetic."""
    numbers = Rationals()
    difference, bound = _difference(claim, stream, numbers), _lifted(claim.bound, numbers)
    squares = difference * difference
    if claim.norm == "euclidean":
        squares = squares.sum(axis=1)
    holds = bool((squares <= bound * bound).all())
    errors = _each(lambda square: _upper(flint.arb(square).sqrt()), squares).astype(np.float64)
    return _finding(claim, errors, claim.bound, holds, "exact")


def _nearest(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:  # a fraction of many digits
        return inf if number > 0 else -inf


def _norms(errors: Array) -> Array:
    """Euclidean, of each row; scaled, as squares of small numbers are 0 and those of large ones infinite."""
    largest = np.where(errors.max(axis=1, initial=0) > 0, errors.max(axis=1, initial=0), 1.0)
    return np.asarray(largest * np.linalg.norm(errors / largest[:, None], axis=1))


def _upper(error: flint.arb) -> float:
    """Its upper end, for reading; what is too small for float64 is not shown as 0."""
    return max(float(error.abs_upper()), 0.0 if error.is_zero() else 5e-324)


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
    claim: Claim, errors: Array, limits: Array, holds: bool | None, evidence: Evidence, bits: int | None = None
) -> Finding:
    """The row or entry with the largest error/limit; one whose error is not finite comes before all others."""
    with np.errstate(all="ignore"):
        ratio = np.nan_to_num(errors / limits, nan=0.0, posinf=np.inf)  # 0/0: an equality that holds
    worst = np.unravel_index(np.where(np.isnan(errors), np.inf, ratio).argmax(), errors.shape)
    verdict: Verdict = "vacuous" if limits.max() >= claim.trivial else "holds"
    if not holds:
        verdict = "undecided" if holds is None else "false"
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


def seal(files: int) -> str:
    """Whether the files are those that were exported, as far as checksums say; how many have one."""
    if not files:
        return "not sealed: without checksums (format 1), a weight that no claim reaches may have been changed unseen"
    return f"sealed: {files} files have the SHA-256 that {claims.NAME} states of them"


def _entry(found: Finding) -> dict[str, Any]:
    numbers = {"found": outputs.finite(found.found), "bound": found.bound, "slack": found.slack}
    return {**asdict(found), **numbers}
