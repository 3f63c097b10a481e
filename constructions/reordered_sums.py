"""Every sum in another order, so that a check which pins one processor's rounding fails at home.

`REORDERED_SUMS=1` in the environment of any command, or `pytest --reordered`: matrix products, and sums, means, norms,
softmaxes and cumulative sums of floats, of numpy and of torch, take the terms of every sum in the order of `order`.
Another processor's libraries do no less. The values differ by what rounding may change, and nothing else does; numbers
that are not floats are left alone.

Nobody else knows of it. numpy's functions are replaced, and so are `@` and `dot` of its arrays, for which C's type has
to be changed: libraries that call them are reached as well. Torch's operations are met where it dispatches them, in
every thread, also on the way back through gradients. Not reached: LAPACK (eigenvectors, singular values, QR), loops in
C (`np.add.at`, `np.bincount`, a ufunc's own `reduce`, scikit-learn's k-means) and Python's `sum`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, wraps
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np

VARIABLE = "REORDERED_SUMS"
EVERY = 7
"""Not a divisor of any number of terms that libraries add up side by side."""
_applied: ExitStack | None = None
_plain = {"matmul": np.matmul, "dot": np.dot, "norm": np.linalg.norm, "einsum": np.einsum, "cumsum": np.cumsum}


def wanted() -> bool:
    """Whether the environment asks for it."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


@cache
def order(count: int) -> np.ndarray:
    """From the last term on every seventh, then the others likewise: 15 terms as 14, 7, 0, 13, 6, 12, 5, ..."""
    backwards = np.arange(count)[::-1]
    taken = np.concatenate([backwards[first::EVERY] for first in range(EVERY)])
    taken.flags.writeable = False
    return taken


def install() -> None:
    """From now on, in this process."""
    global _applied
    if _applied is None:
        _applied = ExitStack()
        for patch in (_numpy, _threads):
            _applied.enter_context(patch())
        if "torch" in sys.modules:
            _applied.enter_context(_torch())
        else:
            sys.meta_path.insert(0, _AwaitTorch())


def uninstall() -> None:
    """Back to the order of the libraries."""
    global _applied
    if _applied is not None:
        _applied.close()
        _applied = None


@contextmanager
def applied(on: bool = True) -> Iterator[None]:
    """Sums in another order, or (False) in that of the libraries, within the block."""
    before = _applied is not None
    (install if on else uninstall)()
    try:
        yield
    finally:
        (install if before else uninstall)()


# --- numpy ---


def _floats(*arrays: object) -> bool:
    return all(isinstance(a, np.ndarray) and a.dtype.kind in "fc" for a in arrays)


def _permuted(a: np.ndarray, axis: int | Sequence[int] | None) -> np.ndarray:
    """The array with its entries along the axes (None: all) in the order of `order`."""
    axes = range(a.ndim) if axis is None else [axis] if isinstance(axis, int | np.integer) else axis
    for one in axes:
        if a.shape[one] > 1:
            a = np.take(a, order(a.shape[one]), one)
    return a


def _matmul(a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """a @ b: the contracted axis of both reordered."""
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
def _numpy() -> Iterator[None]:
    """numpy's functions, the sums of its methods, and `@` and `dot` of its arrays."""
    from numpy._core import _methods, fromnumeric, numeric
    from numpy.lib import _function_base_impl

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
            stack.enter_context(_attribute(owner, name, new))
        stack.enter_context(_methods_of_arrays({"__matmul__": matmul, "dot": dot}))
        yield


@contextmanager
def _attribute(owner: Any, name: str, new: Any) -> Iterator[None]:
    old = getattr(owner, name)
    setattr(owner, name, wraps(old)(new))
    try:
        yield
    finally:
        setattr(owner, name, old)


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


# --- torch ---


def _reordered_torch() -> dict[Any, Callable[..., Any]]:
    """For each of torch's operations: how it is evaluated, given its own function and its arguments."""
    import torch
    from torch import Tensor

    aten = torch.ops.aten

    def permuted(a: Tensor, dims: Any) -> Tensor:
        for dim in range(a.ndim) if dims is None else [dims] if isinstance(dims, int) else list(dims) or range(a.ndim):
            if a.ndim and a.shape[dim] > 1:
                a = a.index_select(dim, torch.tensor(order(a.shape[dim]), device=a.device))
        return a

    def back(a: Tensor, dim: int) -> Tensor:
        return a.index_select(dim, torch.tensor(np.argsort(order(a.shape[dim])), device=a.device)) if a.ndim else a

    def product(function: Any, *args: Any, **kwargs: Any) -> Tensor:
        *others, a, b = args[:3] if len(args) > 2 else args
        right = max(-2, -b.ndim)
        return function(*others, permuted(a, -1), permuted(b, right), *args[3:], **kwargs)

    def reduced(function: Any, a: Tensor, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        given = (dim,) if dim is not None or args else ()
        return function(permuted(a, dim), *given, *args, **kwargs)

    def normed(function: Any, a: Tensor, ord: Any = 2, dim: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        return function(permuted(a, dim), ord, dim, *args, **kwargs)

    def whole(function: Any, a: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return function(permuted(a, None), *args, **kwargs)

    def along(function: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Softmaxes and their gradients: (tensors, dim, ...), from which a tensor of the same shape comes."""
        number = sum(isinstance(a, Tensor) for a in args)
        tensors, dim = args[:number], args[number]
        return back(function(*(permuted(a, dim) for a in tensors), *args[number:], **kwargs), dim)

    def cumulative(function: Any, a: Tensor, dim: int, **kwargs: Any) -> Tensor:
        """Blocks of seven, and the sums of the blocks before."""
        if not a.ndim or a.shape[dim] == 0:
            return function(a, dim, **kwargs)
        within = torch.cat([function(part, dim, **kwargs) for part in a.split(EVERY, dim)], dim)
        parts, total = [], None
        for part in within.split(EVERY, dim):
            parts.append(part if total is None else part + total)
            total = parts[-1].narrow(dim, -1, 1)
        return torch.cat(parts, dim)

    return {
        **dict.fromkeys((aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.mv, aten.addmv, aten.dot), product),
        **dict.fromkeys((aten.sum, aten.mean, aten.logsumexp, aten.var, aten.std), reduced),
        **dict.fromkeys((aten._softmax, aten._log_softmax), along),
        **dict.fromkeys((aten._softmax_backward_data, aten._log_softmax_backward_data), along),
        aten.linalg_vector_norm: normed,
        aten.norm: whole,
        aten.cumsum: cumulative,
    }


@contextmanager
def _torch() -> Iterator[None]:
    """Torch's operations, in this thread; `_threads` does the others."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    known = _reordered_torch()

    class Reordered(TorchDispatchMode):
        """Operations on floats, evaluated anew."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            special = known.get(func.overloadpacket)
            if special is None or not all(a.is_floating_point() for a in args if isinstance(a, torch.Tensor)):
                return func(*args, **(kwargs or {}))
            return special(func, *args, **(kwargs or {}))

    global _mode
    _mode = Reordered
    try:
        with Reordered():
            yield
    finally:
        _mode = None


_mode: Callable[[], Any] | None = None


@contextmanager
def _threads() -> Iterator[None]:
    """Every new thread enters the mode: torch keeps it thread by thread."""
    run = threading.Thread.run

    def reordered(self: threading.Thread) -> None:
        if _mode is None:
            run(self)
        else:
            with _mode():
                run(self)

    with _attribute(threading.Thread, "run", reordered):
        yield


class _AwaitTorch:
    """Lets torch be imported when somebody needs it, and only then changes it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module's own, with what follows its execution."""
        if name != "torch":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec("torch")
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            if _applied is not None:
                _applied.enter_context(_torch())

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
