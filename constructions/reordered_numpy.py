"""numpy's sums in another order (`reordered_sums`): functions, methods of arrays, and `@`."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, wraps
from importlib import import_module
from typing import Any
from unittest.mock import patch

import numpy as np

EVERY = 7
"""Not a divisor of any number of terms that libraries add up side by side."""
_plain: dict[str, Any] = {
    "matmul": np.matmul,
    "dot": np.dot,
    "norm": np.linalg.norm,
    "einsum": np.einsum,
    "cumsum": np.cumsum,
}


@cache
def order(count: int) -> np.ndarray:
    """From the last term on every seventh, then the others likewise: 15 terms as 14, 7, 0, 13, 6, 12, 5, ..."""
    backwards = np.arange(count)[::-1]
    taken = np.concatenate([backwards[first::EVERY] for first in range(EVERY)])
    taken.flags.writeable = False
    return taken


def _floats(*arrays: object) -> bool:
    return all(isinstance(a, np.ndarray) and a.dtype.kind in "fc" for a in arrays)


def _permuted(a: np.ndarray, axis: Any) -> np.ndarray:  # no Sequence[int]: checking it at run time draws from `random`
    """The array with its entries along the axes (None: all) in the order of `order`."""
    axes = range(a.ndim) if axis is None else [axis] if isinstance(axis, int | np.integer) else axis
    for one in axes:
        if a.shape[one] > 1:
            a = np.take(a, order(a.shape[one]), one)
    return a


def _matmul(a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """Matrix products: the contracted axis of both reordered."""
    if _floats(a, b) and a.ndim and b.ndim and a.shape[-1] == b.shape[max(0, b.ndim - 2)]:
        a, b = _permuted(a, -1), _permuted(b, max(0, b.ndim - 2))
    return _plain["matmul"](a, b, *args, **kwargs)


def _dot(a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """The same for np.dot."""
    if _floats(a, b) and a.ndim and b.ndim and a.shape[-1] == b.shape[max(0, b.ndim - 2)]:
        a, b = _permuted(a, -1), _permuted(b, max(0, b.ndim - 2))
    return _plain["dot"](a, b, *args, **kwargs)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """np.linalg.norm; singular values are not reordered."""
    return _plain["norm"](_permuted(x, axis) if _floats(x) and ord is None else x, ord, axis, keepdims)


def _einsum(*operands: Any, **kwargs: Any) -> Any:
    """np.einsum: every index that is summed is reordered."""
    text = operands[0]
    if not (isinstance(text, str) and "->" in text and "." not in text and _floats(*operands[1:])):
        return _plain["einsum"](*operands, **kwargs)
    inputs, kept = text.replace(" ", "").split("->")
    arrays = [
        _permuted(a, [axis for axis, index in enumerate(indices) if index not in kept])
        for indices, a in zip(inputs.split(","), operands[1:], strict=True)
    ]
    return _plain["einsum"](text, *arrays, **kwargs)


def _cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    """np.cumsum: blocks of seven, and the sums of the blocks before."""
    if not _floats(a) or dtype is not None or out is not None:
        return _plain["cumsum"](a, axis, dtype, out)
    moved = a.ravel() if axis is None else np.moveaxis(a, axis, -1)
    within = np.concatenate(
        [_plain["cumsum"](moved[..., k : k + EVERY], axis=-1) for k in range(0, moved.shape[-1], EVERY)] or [moved], -1
    )
    before = np.zeros_like(within)
    before[..., EVERY:] = np.repeat(_plain["cumsum"](within[..., EVERY - 1 :: EVERY], axis=-1), EVERY, -1)[
        ..., : within.shape[-1] - EVERY
    ]
    total = within + before
    return total if axis is None else np.moveaxis(total, -1, axis)


@contextmanager
def applied() -> Iterator[None]:
    """The functions of numpy, the sums of its methods, and `@` and `dot` of its arrays."""
    names = ("_core._methods", "_core.fromnumeric", "_core.numeric", "lib._function_base_impl")
    modules: list[Any] = [import_module(f"numpy.{name}") for name in names]
    _methods, fromnumeric, numeric, _function_base_impl = modules

    add, reduction = _methods.umr_sum, fromnumeric._wrapreduction

    def umr_sum(a: Any, axis: Any = None, *args: Any, **kwargs: Any) -> Any:
        plain = not _floats(a) or kwargs.get("where", True) is not True or args[4:] not in ((), (True,))
        return add(a if plain else _permuted(a, axis), axis, *args, **kwargs)

    def wrapped(obj: Any, ufunc: Any, method: str, axis: Any, dtype: Any, out: Any, **kwargs: Any) -> Any:
        if ufunc is np.add and type(obj) is np.ndarray and _floats(obj) and kwargs.get("where") is np._NoValue:
            obj = _permuted(obj, axis)
        return reduction(obj, ufunc, method, axis, dtype, out, **kwargs)

    replaced: list[tuple[Any, str, Any]] = [
        (_methods, "umr_sum", umr_sum),
        (fromnumeric, "_wrapreduction", wrapped),
        (np, "matmul", _matmul),
        (np, "einsum", _einsum),
        (np, "cumsum", _cumsum),
        (np.linalg, "norm", _norm),
        *((module, "dot", _dot) for module in (np, numeric, _function_base_impl)),
    ]
    plain_matmul, plain_dot = np.ndarray.__matmul__, np.ndarray.dot

    def matmul(self: Any, other: Any) -> Any:
        return _matmul(self, other) if _floats(self, other) else plain_matmul(self, other)

    def dot(self: Any, other: Any, *args: Any) -> Any:
        return _dot(self, other, *args) if _floats(self, other) else plain_dot(self, other, *args)

    with ExitStack() as stack:
        for owner, name, new in replaced:
            stack.enter_context(patch.object(owner, name, wraps(getattr(owner, name))(new)))
        stack.enter_context(_methods_of_arrays({"__matmul__": matmul, "dot": dot}))
        yield


class _Python:
    """A class of Python's: its operator looks up the method of that name."""

    def __matmul__(self, other: object) -> None:
        """Nothing."""


@contextmanager
def _methods_of_arrays(new: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """Put methods into numpy's array type, which Python itself refuses; its `@` then looks them up as a class's does.

    The function behind `@` is found where the type's own is, so that another layout is met with an error.
    """
    word, pointers = ctypes.sizeof(ctypes.c_void_p), ctypes.POINTER(ctypes.c_void_p)
    numbers = 12  # PyTypeObject.tp_as_number, in words
    slots = ctypes.cast(ctypes.cast(id(np.ndarray), pointers)[numbers], pointers)
    own = ctypes.cast(id(np.ndarray.__dict__["__matmul__"]) + 6 * word, pointers)[0]  # d_wrapped of the descriptor
    (place,) = [k for k in range(36) if slots[k] == own]
    looking = ctypes.cast(ctypes.cast(id(_Python), pointers)[numbers], pointers)[place]
    (held,) = gc.get_referents(np.ndarray.__dict__)
    old = {name: held[name] for name in new}

    def put(methods: dict[str, Any], function: int | None) -> None:
        held.update(methods)
        slots[place] = function
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(np.ndarray))

    put(new, looking)
    try:
        yield
    finally:
        put(old, own)
