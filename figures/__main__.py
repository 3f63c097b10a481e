"""`python -m figures [NAME ...] [--out DIR]` redraws the figures, each as PNG and SVG."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from constructions.command_line import Parser, require_writable, run_command, write_all
from constructions.errors import InputError
from figures import (
    comparison,
    dependencies,
    em_run,
    em_step,
    gradient_step,
    lemma_f2,
    lemma_f4,
    m_step,
    precision_map,
    remark_g2,
    remark_g3,
    residual_stream,
    style,
    tensor_power,
    tensor_rounding,
    tgmm_cost,
    tgmm_errors,
    tgmm_probes,
    tgmm_real,
    tgmm_rq1,
    tgmm_rq2,
    tgmm_rq3,
    tgmm_scale,
    tgmm_separation,
    tgmm_training,
    theorem_f1_errors,
    theorem_f1_plateau,
    theorem_f1_rate,
    theorem_f2,
    theorem_f6,
    theorem_g8,
    warm_start,
)

HERE = Path(__file__).parent
FIGURES: dict[str, Callable[[], Figure]] = {
    "theorem_f1_rate": theorem_f1_rate.figure,
    "theorem_f1_plateau": theorem_f1_plateau.figure,
    "theorem_f1_errors": theorem_f1_errors.figure,
    "theorem_f2": theorem_f2.figure,
    "lemma_f2": lemma_f2.figure,
    "comparison": comparison.figure,
    "dependencies": dependencies.figure,
    "lemma_f4": lemma_f4.figure,
    "m_step": m_step.figure,
    "em_step": em_step.figure,
    "em_run": em_run.figure,
    "theorem_f6": theorem_f6.figure,
    "precision_map": precision_map.figure,
    "residual_stream": residual_stream.figure,
    "theorem_g8": theorem_g8.figure,
    "tensor_rounding": tensor_rounding.figure,
    "remark_g2": remark_g2.figure,
    "remark_g3": remark_g3.figure,
    "tensor_power": tensor_power.figure,
    "gradient_step": gradient_step.figure,
    "tgmm_rq1": tgmm_rq1.figure,
    "tgmm_training": tgmm_training.figure,
    "tgmm_cost": tgmm_cost.figure,
    "tgmm_errors": tgmm_errors.figure,
    "tgmm_separation": tgmm_separation.figure,
    "tgmm_rq2": tgmm_rq2.figure,
    "tgmm_rq3": tgmm_rq3.figure,
    "tgmm_scale": tgmm_scale.figure,
    "tgmm_real": tgmm_real.figure,
    "tgmm_probes": tgmm_probes.figure,
    "warm_start": warm_start.figure,
}


def title(name: str) -> str:
    """The first line of a figure's description, without its full stop."""
    return (FIGURES[name].__doc__ or name).splitlines()[0].rstrip(".")


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
    p.add_argument(
        "--out", type=Path, default=HERE, metavar="DIR", help="where to write NAME.png and NAME.svg (default: figures/)"
    )
    return p


def main(arguments: list[str] | None = None) -> int:
    """Draw and write; 0 on success, 2 with one sentence on bad input."""
    return run_command(lambda: _run(parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    unknown = [name for name in options.names if name not in FIGURES]
    if unknown:
        raise InputError(f"there is no figure {unknown[0]!r}; the figures are {', '.join(FIGURES)}")
    _require_directory(options.out)
    for name in dict.fromkeys(options.names or FIGURES):
        print(f"{name}: {title(name)} ...", flush=True)
        began = time.perf_counter()
        picture = FIGURES[name]()
        files = {options.out / f"{name}.png": style.png(picture), options.out / f"{name}.svg": style.svg(picture)}
        write_all(files)
        where = " and ".join(_shown(path) for path in files)
        print(f"  {where} ({time.perf_counter() - began:.1f} s)", flush=True)
    return 0


def _shown(path: Path) -> str:
    """Relative to the working directory, if it lies below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _require_directory(path: Path) -> None:
    """Refuse, before any work, what is not a writable directory and cannot become one."""
    if path.exists() and not path.is_dir():
        raise InputError(f"--out is {str(path)!r}, which is not a directory")
    require_writable(path / "picture" if path.exists() else path)


if __name__ == "__main__":
    raise SystemExit(main())
