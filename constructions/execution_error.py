"""How far two evaluations of one layer may be apart in floating point (proofs_notes/execution.md)."""

from __future__ import annotations

from math import log

import numpy as np
from jaxtyping import Float

from constructions.executor import LEAST_BLOCK
from constructions.rounding_error import EXP_UNITS, gamma
from constructions.transformer import AttentionLayer, MlpLayer
from constructions.weights import Activation, Array, HeadWeights


def sublayer_error(
    part: AttentionLayer | MlpLayer, h: Float[np.ndarray, "N D"], unit: float
) -> Float[np.ndarray, "N D"]:
    """Bound of |literal − planned| for one module on the stream h, entry by entry; `unit` is its format's roundoff."""
    if isinstance(part, AttentionLayer):
        return attention_error([head.weights for head in part.stored_heads], part.activation, h, unit)
    return mlp_error(part.w1.double().numpy(), part.w2.double().numpy(), h, unit)


def attention_error(
    heads: list[HeadWeights], activation: Activation, h: Float[np.ndarray, "N D"], unit: float
) -> Float[np.ndarray, "N D"]:
    """Bound of |literal − planned| for h_i + Σ_m Σ_j a(⟨Q_m h_i, K_m h_j⟩) V_m h_j, entry by entry.

    Either evaluation is off by at most half of it: the note derives γ_{H+2}(|h| + Σ_m Ō_m) + Σ_m E_m.
    """
    total, error = np.abs(h), np.zeros(h.shape)
    for head in heads:
        size, its_error = head_error(head, activation, h, unit)
        total, error = total + size, error + its_error
    return 2 * (error + gamma(len(heads) + 2, unit) * (total + error))


def head_error(
    head: HeadWeights, activation: Activation, h: Float[np.ndarray, "N D"], unit: float
) -> tuple[Array, Array]:
    """Σ_j a_ij |O||V h_j| and a bound of what is wrong with the head's output in one evaluation, each N×D."""
    tokens, width = h.shape

    def read(matrix: Array) -> tuple[Array, Array]:
        exact = h @ matrix.T
        return exact, gamma(width + 2, unit) * (np.abs(h) @ np.abs(matrix).T)

    (query, query_error), (key, key_error), (value, value_error) = map(read, (head.query, head.key, head.value))
    scores = query @ key.T
    larger = (np.abs(query) + query_error) @ (np.abs(key) + key_error).T
    score_error = np.abs(query) @ key_error.T + query_error @ (np.abs(key) + key_error).T
    score_error += gamma(len(head.query) + 2, unit) * larger
    values = np.abs(value) + value_error
    if activation == "relu":
        weights, weight_error = np.maximum(scores, 0) / tokens, score_error / tokens
        weight_error = weight_error + gamma(2 * tokens + 8, unit) * (weights + weight_error)
    else:
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights = weights / weights.sum(axis=1, keepdims=True)
        largest = larger.max(axis=1, keepdims=True) + log(tokens)
        blocks = -(-tokens // LEAST_BLOCK)
        logit = score_error.max(axis=1, keepdims=True) + (1 + blocks) * unit * (4 * largest + 2 * EXP_UNITS)
        with np.errstate(over="ignore", invalid="ignore"):  # two shares are never further apart than 1
            weight_error = np.fmin(weights * np.expm1(2 * logit + gamma(2 * tokens + 8, unit)), 1.0)
        weight_error = weight_error + tokens * smallest_normal(unit)  # below it exp may return 0
    size = (weights + weight_error) @ values
    error = weights @ value_error + weight_error @ values + gamma(2 * tokens + 8, unit) * size
    output = np.abs(head.output).T
    return size @ output, error @ output + gamma(head.output.shape[1] + 4, unit) * (size @ output)


def smallest_normal(unit: float) -> float:
    """Of the format with this unit roundoff: float64, or float32 and bfloat16."""
    return 2.0**-1022 if unit < 2.0**-50 else 2.0**-126


def mlp_error(w1: Array, w2: Array, h: Float[np.ndarray, "N D"], unit: float) -> Float[np.ndarray, "N D"]:
    """Bound of |literal − planned| for h + w2·relu(w1·h): 2γ_{D+D'+8}(|h| + |w2||w1||h|), entry by entry."""
    size = np.abs(h) + np.abs(h) @ np.abs(w1).T @ np.abs(w2).T
    return 2 * gamma(h.shape[1] + len(w1) + 8, unit) * size
