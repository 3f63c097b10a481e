"""Every sum in another order, so that a check which pins one processor's rounding fails at home.

`REORDERED_SUMS=1` in the environment of any command, or `pytest --reordered`: matrix products, and sums, means, norms,
softmaxes and cumulative sums of floats, of numpy and of torch, take the terms of every sum in the order of
`reordered_numpy.order`. Another processor's libraries do no less. The values differ by what rounding may change, and
nothing else does; numbers that are not floats are left alone.

Nobody else knows of it: numpy's functions and its arrays' methods are replaced, so that libraries that call them are
reached as well, and torch's operations are met where it dispatches them, in every thread. Not reached: LAPACK
(eigenvectors, singular values, QR), loops in C (`np.add.at`, `np.bincount`, a ufunc's own `reduce`, scikit-learn's
k-means) and Python's `sum`.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.machinery import ModuleSpec
from typing import Any
from unittest.mock import patch

from constructions import reordered_numpy

_applied: ExitStack | None = None
_torch_mode: type[AbstractContextManager[Any]] | None = None


def install() -> None:
    """From now on, in this process."""
    global _applied
    if _applied is None:
        _applied = ExitStack()
        _applied.enter_context(reordered_numpy.applied())
        _applied.enter_context(_threads())
        if "torch" in sys.modules:
            _enter_torch()
        else:
            awaiting: Any = _AwaitTorch()
            sys.meta_path.insert(0, awaiting)


def uninstall() -> None:
    """Back to the order of the libraries."""
    global _applied, _torch_mode
    if _applied is not None:
        _applied.close()
        _applied = _torch_mode = None


@contextmanager
def applied(on: bool = True) -> Iterator[None]:
    """Sums in another order, or (False) in that of the libraries, within the block."""
    before = _applied is not None
    (install if on else uninstall)()
    try:
        yield
    finally:
        (install if before else uninstall)()


def _enter_torch() -> None:
    """In this thread; `_threads` does the others."""
    global _torch_mode
    if _applied is not None:
        from constructions.reordered_torch import Reordered

        _torch_mode = Reordered
        _applied.enter_context(Reordered())


@contextmanager
def _threads() -> Iterator[None]:
    """Every new thread enters the mode: torch keeps it thread by thread."""
    run = threading.Thread.run

    def reordered(self: threading.Thread) -> None:
        if _torch_mode is None:
            run(self)
        else:
            with _torch_mode():
                run(self)

    with patch.object(threading.Thread, "run", reordered):
        yield


class _AwaitTorch:
    """Lets torch be imported when somebody needs it, and only then changes it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The module's own, with what follows its execution."""
        if name != "torch":
            return None
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        spec = importlib.util.find_spec("torch")
        assert spec is not None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            _enter_torch()

        loader.exec_module = exec_module
        return spec
