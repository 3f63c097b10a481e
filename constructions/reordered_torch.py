"""torch's sums in another order (`reordered_sums`): its operations are met where it dispatches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from constructions.reordered_numpy import EVERY, order


class Reordered(TorchDispatchMode):
    """Operations on floats, evaluated anew: also on the way back through gradients; one thread's."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation's own function on reordered terms."""
        special = KNOWN.get(func.overloadpacket)
        if special is None or not all(a.is_floating_point() for a in args if isinstance(a, Tensor)):
            return func(*args, **(kwargs or {}))
        return special(func, *args, **(kwargs or {}))


def _permuted(a: Tensor, dims: Any) -> Tensor:
    for dim in range(a.ndim) if dims is None else [dims] if isinstance(dims, int) else list(dims) or range(a.ndim):
        if a.ndim and a.shape[dim] > 1:
            a = a.index_select(dim, torch.tensor(order(a.shape[dim]), device=a.device))
    return a


def _back(a: Tensor, dim: int) -> Tensor:
    return a.index_select(dim, torch.tensor(np.argsort(order(a.shape[dim])), device=a.device)) if a.ndim else a


def _product(function: Any, *args: Any, **kwargs: Any) -> Tensor:
    """(summand, a, b, ...) or (a, b, ...): the contracted axis of both."""
    *others, a, b = args[:3] if len(args) > 2 else args
    return function(*others, _permuted(a, -1), _permuted(b, max(-2, -b.ndim)), *args[3:], **kwargs)


def _reduced(function: Any, a: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    given = (dim,) if dim is not None or args else ()
    return function(_permuted(a, dim), *given, *args, **kwargs)


def _normed(function: Any, a: Tensor, ord: Any = 2, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    return function(_permuted(a, dim), ord, dim, *args, **kwargs)


def _along(function: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Softmaxes and their gradients: (tensors, dim, ...), from which a tensor of the same shape comes."""
    number = sum(isinstance(a, Tensor) for a in args)
    tensors, dim = args[:number], args[number]
    return _back(function(*(_permuted(a, dim) for a in tensors), *args[number:], **kwargs), dim)


def _cumulative(function: Any, a: Tensor, dim: int, **kwargs: Any) -> Tensor:
    """Blocks of seven, and the sums of the blocks before."""
    if not a.ndim or a.shape[dim] == 0:
        return function(a, dim, **kwargs)
    within = torch.cat([function(part, dim, **kwargs) for part in a.split(EVERY, dim)], dim)
    parts: list[Tensor] = []
    for part in within.split(EVERY, dim):
        parts.append(part + parts[-1].narrow(dim, -1, 1) if parts else part)
    return torch.cat(parts, dim)


_aten = torch.ops.aten
KNOWN: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((_aten.mm, _aten.bmm, _aten.addmm, _aten.baddbmm, _aten.mv, _aten.addmv, _aten.dot), _product),
    **dict.fromkeys((_aten.sum, _aten.mean, _aten.logsumexp, _aten.var, _aten.std), _reduced),
    **dict.fromkeys((_aten._softmax, _aten._log_softmax), _along),
    **dict.fromkeys((_aten._softmax_backward_data, _aten._log_softmax_backward_data), _along),
    _aten.linalg_vector_norm: _normed,
    _aten.cumsum: _cumulative,
}
"""For each of torch's operations: how it is evaluated, given its own function and its arguments."""
