"""What the figures of the trained model share: the stored results, and one colour and mark for each method."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from constructions.errors import InputError
from figures import style
from tgmm import config as configs
from tgmm.evaluation import CONFIGS, DESIGN, require_current
from tgmm.options import RESULTS
from theory_checks.sweeps import results

LOOKS = {
    "em-truth": ("EM from the truth", style.GREY, ":", ""),
    "em-normal": ("EM, normal start", style.VERMILLION, "-", "s"),
    "em-samples": ("EM, samples", style.ORANGE, "-", "v"),
    "em-kmeans++": ("EM, k-means++", style.ORANGE, "-", "^"),
    "em-best-of-10": ("EM, best of 10", style.GREEN, "-", "D"),
    "em-pruning": ("two-round EM", style.YELLOW, "-", "P"),
    "adam": ("Adam", style.PURPLE, "-", "X"),
    "spectral": ("spectral", style.PURPLE, "--", "*"),
    "em-transformer-10": ("EM transformer, L = 10", style.SKY, "--", "<"),
    "sample-mean": ("sample mean", style.BLACK, ":", "_"),
    "em-transformer-50": ("EM transformer, L = 50", style.SKY, "-", ">"),
}
"""Label, colour, line and mark of the classical methods."""
COMPONENTS = dict(zip((2, 3, 4, 5), (style.SKY, style.BLUE, style.PURPLE, style.VERMILLION), strict=True))
"""A colour for each K."""
TRAINED = ("TGMM", style.BLUE, "-", "o")


@cache
def stored() -> results.Results:
    """All that `python -m tgmm evaluate` has measured."""
    return results.read(RESULTS, DESIGN)


def rows(*sweeps: str) -> np.ndarray:
    """The rows of some sweeps together."""
    found = np.concatenate([stored().sweep(name) for name in sweeps])
    require_current(found)
    return found


def look(method: str) -> tuple[str, str, str, str]:
    """Label, colour, line and mark of a method; a trained model's are TGMM's."""
    return LOOKS.get(method, TRAINED)


def draw(
    axes: Axes,
    found: np.ndarray,
    method: str,
    x: str,
    metric: str = "l2_error",
    named: tuple[str, str, str, str] | None = None,
) -> None:
    """A method's mean of a metric along one key of the cells, with its 95 % intervals."""
    own = np.sort(found[found["method"] == method], order=x)
    if not len(own):
        raise InputError(
            f"the sweep {str(found['sweep'][0])!r} has no results of {method!r}: `python -m tgmm evaluate` adds them"
        )
    label, colour, line, mark = named or look(method)
    mean, low, high = (own[f"{metric}{end}"] for end in ("", "_low", "_high"))
    axes.fill_between(own[x], low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(own[x], mean, line, marker=mark, color=colour, label=label)


def named(label: str, colour: str, mark: str = "o", line: str = "-") -> tuple[str, str, str, str]:
    """A trained model's look where several are compared."""
    return label, colour, line, mark


def components_axis(axes: Axes) -> None:
    """K = 2 ... 5 along, the ℓ2-error up."""
    axes.set(xlabel="components K", ylabel="ℓ2-error", xticks=[2, 3, 4, 5], yscale="log")


def legend(picture: Figure, *axes: Axes, columns: int = 4) -> None:
    """One legend above all panels, each label once."""
    found: dict[str, Any] = {}
    for each in axes:
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
            found.setdefault(str(label), handle)
    picture.legend(list(found.values()), list(found), loc="outside upper center", ncols=columns)


def small_print(found: np.ndarray, intervals: str = "shaded") -> str:
    """How many tasks a point, of what size, and on how many of them a method failed."""
    sizes = ", ".join(str(n) for n in np.unique(found["n"]))
    text = (
        f"Means over {found['tasks'][0]} tasks a point, n = {sizes} samples each (seed {found['seed'][0]}); "
        f"{intervals}: 95 % bootstrap intervals."
    )
    failures = {look(method)[0]: found["excluded"][found["method"] == method].max() for method in found["method"]}
    failures = {label: most for label, most in failures.items() if most}
    if failures:
        told = ", ".join(f"of {label} up to {most}" for label, most in failures.items())
        text += f" Tasks on which a method fails are left out: {told} a point."
    return text


def steps(*models: str) -> str:
    """For how long these models were trained, in steps of as many tasks as their configs say."""
    trainings = {configs.load(CONFIGS / f"{model}.toml").training for model in models}
    lengths = " or ".join(str(n) for n in sorted({each.steps for each in trainings}))
    (batch,) = {each.batch for each in trainings}
    return f"{lengths} steps of {batch} tasks"


def joined(first: np.ndarray, others: np.ndarray, methods: tuple[str, ...]) -> np.ndarray:
    """Rows of one sweep and, of others on the same tasks, those of some methods."""
    return np.concatenate([first, others[np.isin(others["method"], methods)]])
