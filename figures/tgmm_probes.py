"""Linear probes: how well each layer gives the results of each EM step, in a trained and in a built transformer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

STORED = Path(__file__).parent / "tgmm_probes.json"


def matrix(entries: list[dict[str, Any]], target: str, value: str) -> tuple[np.ndarray, list[int], list[int]]:
    """R² by layer and step."""
    own = [entry for entry in entries if entry["target"] == target]
    layers, steps = (sorted({entry[key] for entry in own}) for key in ("layer", "step"))
    found = {(entry["layer"], entry["step"]): entry[value][0] for entry in own}
    return np.array([[found[layer, step] for step in steps] for layer in layers]), layers, steps


def panel(axes: Axes, entries: list[dict[str, Any]], target: str) -> None:
    """A heat map, each number written in; the best step of every layer that beats shuffled targets is bold."""
    values, layers, steps = matrix(entries, target, "r2")
    chance = matrix(entries, target, "shuffled")[0].max()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, layer in enumerate(values):
        best = int(layer.argmax())
        for column, value in enumerate(layer):
            bold = "bold" if column == best and value > chance else "normal"
            colour = "white" if value > 0.6 else "black"
            text = f"{max(value, 0):.2f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=5.5, color=colour, weight=bold)
    axes.set_xticks(range(len(steps)), [str(step) for step in steps])
    axes.set_yticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set(xlabel="step of exact EM", ylabel="after layer")
    axes.grid(visible=False)


@style.styled
def figure() -> Figure:
    """Does a trained model hold EM's steps? Linear probes, layer by layer."""
    content: dict[str, Any] = json.loads(STORED.read_text(encoding="utf-8"))
    picture = style.new_figure(5.2)
    axes = picture.subplots(2, 2)
    titles = {"construction": "built by hand", "trained": "trained"}
    cases = [(subject, target) for target in ("responsibilities", "means") for subject in titles]
    for letter, each, (subject, target) in zip("abcd", axes.ravel(), cases, strict=True):
        panel(each, content[subject], target)
        style.panel_title(each, letter, f"{titles[subject]}: {'current ' if target == 'means' else ''}{target}")
    shuffled = [max(matrix(content["trained"], target, "shuffled")[0].max(), 0) for _, target in cases[1::2]]
    style.caption(
        picture,
        f"R² on {content['judged_on']} held-out tasks of linear probes fitted on {content['fitted_on']}; d = "
        f"{content['dim']}, K = {content['components']}, n = {content['samples']}. Bold: the step that a layer gives "
        "best, if better than any shuffled one; below 0 is shown as 0. Shuffled targets give at most "
        f"{shuffled[0]:.2f} in (b) and {shuffled[1]:.2f} in (d).",
    )
    return picture
