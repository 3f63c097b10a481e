"""Real data: the share of samples whose cluster is their class, for every method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from figures import style, tgmm_results
from figures.tgmm_rq1 import METHODS
from tgmm.evaluation import MODELS

STORED = Path(__file__).parent / "tgmm_real.json"


def failures(content: dict[str, Any]) -> str:
    """A sentence on the subsets that a method has no estimate for."""
    failed = [row for row in content["rows"] if row["failed"]]
    if not failed:
        return ""
    places = ((tgmm_results.look(row["method"])[0], row) for row in failed)
    told = ", ".join(f"{label} on {row['failed']} ({_case(row)})" for label, row in places)
    return f" Left out where a method fails: {told}."


def _case(row: dict[str, Any]) -> str:
    return f"{row['data']}, K = {row['classes']}, d = {row['dim']}"


@style.styled
def figure() -> Figure:
    """Clustering accuracy on iris, wine and digits."""
    content: dict[str, Any] = json.loads(STORED.read_text(encoding="utf-8"))
    picture = style.new_figure(3.4)
    axes = picture.subplots()
    cases = list(dict.fromkeys((row["data"], row["classes"], row["dim"]) for row in content["rows"]))
    offsets = np.linspace(-0.35, 0.35, len(METHODS))
    for offset, method in zip(offsets, (*METHODS[1:], "TGMM"), strict=True):
        label, colour, _, mark = tgmm_results.look(method)
        for place, case in enumerate(cases):
            for row in content["rows"]:
                trained = method == "TGMM" and row["method"] in MODELS.values()
                if (row["data"], row["classes"], row["dim"]) != case or not (trained or row["method"] == method):
                    continue
                value, low, high = row["accuracy"]
                if value is not None:
                    ends = [[value - low], [high - value]]
                    axes.errorbar(place + offset, value, ends, fmt=mark, color=colour, label=label, linewidth=0.8)
    axes.set(ylabel="clustering accuracy")
    axes.set_xticks(range(len(cases)), [f"{name}, K = {classes}\nd = {dim}" for name, classes, dim in cases])
    tgmm_results.legend(picture, axes, columns=5)
    style.caption(
        picture,
        f"{content['subsets']} random subsets of {content['samples']} samples each (seed {content['seed']}); principal "
        f"components, scaled to about unit noise. 95 % intervals over the subsets, which overlap.{failures(content)}",
    )
    return picture
