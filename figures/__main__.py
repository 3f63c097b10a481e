"""`python -m figures [NAME ...] [--out DIR]` redraws the figures, each as PNG and SVG."""

from __future__ import annotations

if __name__ == "__main__":  # before anything is loaded: an interruption is heard from here on
    from constructions.process import start

    start("figures.__main__")

import argparse
import ast
import time
from importlib import import_module
from pathlib import Path

from constructions.command_line import Parser, run_command, write_all
from constructions.errors import InputError, meant
from constructions.files import require_directory

HERE = Path(__file__).parent
FIGURES = (
    "theorem_f1_rate",
    "theorem_f1_plateau",
    "theorem_f1_errors",
    "theorem_f2",
    "lemma_f2",
    "comparison",
    "dependencies",
    "lemma_f4",
    "m_step",
    "em_step",
    "em_run",
    "theorem_f6",
    "precision_map",
    "residual_stream",
    "theorem_g8",
    "tensor_rounding",
    "remark_g2",
    "remark_g3",
    "tensor_power",
    "gradient_step",
    "tgmm_rq1",
    "tgmm_training",
    "tgmm_cost",
    "tgmm_errors",
    "tgmm_separation",
    "tgmm_rq2",
    "tgmm_rq3",
    "tgmm_scale",
    "tgmm_real",
    "tgmm_probes",
    "warm_start",
)
"""Each drawn by `figure()` of the module of its name, which is loaded when it is drawn."""


def title(name: str) -> str:
    """The first line of a figure's description, without its full stop; its module is read, not loaded."""
    tree = ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))
    (drawn,) = (part for part in tree.body if isinstance(part, ast.FunctionDef) and part.name == "figure")
    return (ast.get_docstring(drawn) or name).splitlines()[0].rstrip(".")


def parser() -> Parser:
    """All options, and what each figure shows."""
    width = max(map(len, FIGURES))
    p = Parser(
        prog="python -m figures",
        description="Redraw the figures: every number in them is computed, from the constructions or from a results "
        "file that a command of this project wrote (figures/*.sqlite, figures/*.json).",
        epilog="figures:\n" + "\n".join(f"  {name:{width}s}  {title(name)}" for name in FIGURES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("names", nargs="*", metavar="NAME", help="the figures to draw (default: all)")
    p.add_argument("--out", type=Path, metavar="DIR", help="where to write NAME.png and NAME.svg (default: figures/)")
    p.add_argument("--force", action="store_true", help="write into a directory that holds other files")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Draw and write; 0 on success, 2 with one sentence on bad input."""
    return run_command(lambda: _run(parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    unknown = [name for name in options.names if name not in FIGURES]
    if unknown:
        near = meant(unknown[0], FIGURES)
        raise InputError(f"there is no figure {unknown[0]!r}{near}; the figures are {', '.join(FIGURES)}")
    _require_directory(options)
    from constructions.outputs import require_backend

    require_backend()
    from figures import style

    for name in dict.fromkeys(options.names or FIGURES):
        print(f"{name}: {title(name)} ...", flush=True)
        began = time.perf_counter()
        picture = import_module(f"figures.{name}").figure()
        files = {options.out / f"{name}.png": style.png(picture), options.out / f"{name}.svg": style.svg(picture)}
        write_all(files)
        where = " and ".join(_shown(path) for path in files)
        print(f"  {where} ({time.perf_counter() - began:.1f} s)", flush=True)
    return 0


def _shown(path: Path) -> str:
    """Relative to the working directory, if it lies below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def own(name: str) -> bool:
    """Whether a file of this name is a picture that this command draws."""
    stem, _, kind = name.rpartition(".")
    return stem in FIGURES and kind in ("png", "svg")


def _require_directory(options: argparse.Namespace) -> None:
    """Refuse, before any work, a directory that will not do; ours holds the scripts beside the pictures."""
    if options.force and options.out is None:
        raise InputError("--force is about the directory of --out, which is missing")
    options.out = options.out or HERE
    ours = options.out.exists() and options.out.samefile(HERE)
    require_directory("--out", options.out, own, options.force or ours)
