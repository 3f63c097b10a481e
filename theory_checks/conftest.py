"""Shapes are checked at run time, and one thread computes."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from jaxtyping import install_import_hook

import theory_checks.runtime_types  # noqa: F401 - the hook looks it up

install_import_hook(("constructions", "tgmm"), "theory_checks.runtime_types.checked")
