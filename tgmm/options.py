"""The options of every command of `python -m tgmm`, without what the commands do: --help is there at once."""

from __future__ import annotations

from pathlib import Path

from constructions.command_line import Parser, add_json_option
from constructions.datasets import PREPARATION, add_file_options
from tgmm.names import ARMS, CONFIG, DESCRIPTIONS, METRICS, MODEL, SHIPPED, SUBSET, TRAINING
from tgmm.tasks import TaskDistribution
from theory_checks.sweeps.__main__ import Command
from theory_checks.sweeps.__main__ import parser as sweep_parser

HERE = Path(__file__).parent
RESULTS = HERE.parent / "figures" / "tgmm.sqlite"
EVALUATION = Command("python -m tgmm evaluate", HERE / "experiments.toml", RESULTS)
AXES = ("K", "n", "perturbation", "separation")
"""Of a table."""


def train() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m tgmm train",
        description="Train a model on fresh tasks (Algorithm 2). A run that was stopped, or killed, goes on from its "
        "last checkpoint when the same command is given again, to the same numbers with as many threads.",
        epilog=f"DIR then holds {CONFIG} (every value), {METRICS} (a line every so many steps), {TRAINING} (to go on) "
        f"and {MODEL} (to estimate with). Several processes, which divide every batch, train the same model (extra "
        "hf): on GPUs `accelerate launch -m tgmm train --config PATH.toml`, on CPUs the same after `torchrun "
        "--nproc_per_node P`.",
    )
    p.add_argument("--config", type=Path, required=True, metavar="PATH.toml", help="tasks, model, training")
    p.add_argument("--out", type=Path, metavar="DIR", help="the run's directory (default: runs/ and the config's name)")
    p.add_argument("--force", action="store_true", help="train in a directory that holds other files")
    p.add_argument("--show", action="store_true", help="print the config with every default, and train nothing")
    return p


def estimate() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m tgmm estimate",
        description="Estimate the weights and means of a Gaussian mixture with a trained transformer: one forward "
        "pass, no start, no iteration. Samples are taken as they are, or scaled: the noise should be about unit.",
        epilog=f"Shipped checkpoints: {', '.join(sorted(path.stem for path in SHIPPED.glob('*.safetensors')))}.",
    )
    p.add_argument("--data", required=True, metavar="PATH", help="N×d numbers: text such as CSV, .npy, Parquet, or -")
    p.add_argument("--components", type=int, required=True, metavar="K", help="how many components to estimate")
    p.add_argument(
        "--checkpoint", type=Path, metavar="PATH", help="a trained model (default: the shipped one for the data's d)"
    )
    add_json_option(p, "the estimate")
    add_file_options(p)
    return p


def tasks() -> Parser:
    """All options, each with its default."""
    d = TaskDistribution()
    p = Parser(
        prog="python -m tgmm tasks",
        description="Draw tasks (Algorithm 1) and write them to a file with their distribution and seed, so that every "
        "method sees the same tasks: `python -m tgmm compare --tasks PATH`.",
    )
    p.add_argument("--out", type=Path, required=True, metavar="PATH.safetensors", help="the file")
    p.add_argument("--dim", type=int, default=d.dim, metavar="d", help="dimension (%(default)s)")
    p.add_argument(
        "--components",
        type=int,
        nargs="+",
        default=[3],
        metavar="K",
        help="K is drawn from these (3; methods need one)",
    )
    p.add_argument(
        "--samples",
        type=int,
        nargs="+",
        default=[128],
        metavar="n",
        help="samples: one number, or least and most (128)",
    )
    p.add_argument("--anisotropic", action="store_true", help="diagonal scales softplus(u), u uniform on [-1, 1]^d")
    p.add_argument(
        "--perturbation", type=float, default=d.perturbation, metavar="σ", help="noise added to the means (%(default)g)"
    )
    p.add_argument(
        "--separation",
        type=float,
        default=d.separation,
        metavar="R",
        help="the means lie on a grid of this spacing (%(default)g: they are drawn uniformly)",
    )
    p.add_argument("--count", type=int, default=1280, metavar="B", help="tasks (%(default)s)")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed (%(default)s)")
    return p


def compare() -> Parser:
    """All options, each with its default."""
    width = max(map(len, DESCRIPTIONS))
    p = Parser(
        prog="python -m tgmm compare",
        description="Run methods on a frozen set of tasks and print every metric, the 95 % bootstrap interval of "
        "the l2-error, and the seconds of one processor; the JSON has the intervals of all.",
        epilog="methods: " + "; ".join(f"{name:{width}s}: {text}" for name, text in DESCRIPTIONS.items()),
    )
    p.add_argument("--tasks", type=Path, required=True, metavar="PATH", help="a file that `python -m tgmm tasks` wrote")
    p.add_argument("--methods", nargs="+", metavar="NAME", help="classical methods (default: all that apply)")
    p.add_argument("--checkpoint", type=Path, nargs="+", default=[], metavar="PATH", help="trained models")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the methods' starts (%(default)s)")
    add_json_option(p, "the table")
    return p


def table() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m tgmm table",
        description="Print what `python -m tgmm evaluate` has stored of some sweeps: a line a method, a column a value "
        "of the axis, each with its 95 % interval, in Markdown.",
    )
    p.add_argument("sweeps", nargs="+", metavar="SWEEP", help="sweeps of one d, such as rq1-d2")
    p.add_argument("--metric", default="l2_error", metavar="NAME", help="the metric (%(default)s)")
    p.add_argument("--along", choices=AXES, default="K", help="the columns (%(default)s)")
    p.add_argument(
        "--where", nargs="+", default=[], metavar="KEY=VALUE", help="only rows with this value, such as K=3 or d=2"
    )
    p.add_argument("--results", type=Path, default=RESULTS, metavar="FILE.sqlite", help="figures/tgmm.sqlite")
    return p


def warm_start() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m tgmm warm_start",
        description="Train the EM construction's weights, and random ones of the same shapes, on the same tasks: "
        "errors, distances, and whether each pair of layers still makes an EM step.",
        epilog="arms: " + "; ".join(ARMS),
    )
    p.add_argument("--steps", type=int, default=300, help="of the optimiser in every run (default: %(default)s)")
    p.add_argument(
        "--tasks",
        type=int,
        default=256,
        help="tasks of every test; a validation has half as many (default: %(default)s)",
    )
    p.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    p.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, metavar="ARM", help="(default: all)")
    p.add_argument("--out", type=Path, required=True, metavar="PATH.json", help="where the results are written")
    return p


def real() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m tgmm real",
        description="Cluster random subsets of iris, wine and digits with every method; compare clusters and classes. "
        "A subset is not drawn anew: the intervals tell how much the choice of the subset matters, no more.",
        epilog=PREPARATION,
    )
    p.add_argument("--subsets", type=int, default=200, metavar="B", help=f"of {SUBSET} samples each (%(default)s)")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed (%(default)s)")
    add_json_option(p, "the result")
    return p


def probe() -> Parser:
    """All options, each with its default."""
    p = Parser(
        prog="python -m tgmm probe",
        description="Fit linear probes for the responsibilities and the current means of exact EM on every layer of a "
        "trained model, and on the hand-built EM transformer, which is known to hold them.",
    )
    p.add_argument(
        "--checkpoint",
        type=Path,
        default=SHIPPED / "d2.safetensors",
        metavar="PATH",
        help="a trained model (d2, shipped)",
    )
    p.add_argument("--components", type=int, default=3, metavar="K", help="of the tasks (%(default)s)")
    p.add_argument(
        "--tasks", type=int, default=500, metavar="B", help="tasks to fit on; half as many judge (%(default)s)"
    )
    p.add_argument(
        "--steps", type=int, default=5, metavar="L", help="EM steps of the hand-built transformer (%(default)s)"
    )
    p.add_argument("--seed", type=int, default=0, metavar="S", help="seed (%(default)s)")
    add_json_option(p, "the result")
    return p


def evaluate() -> Parser:
    """All options, each with its default."""
    return sweep_parser(EVALUATION)
