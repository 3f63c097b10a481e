"""What training makes of the EM construction's weights, from the results file that `python -m tgmm warm_start` writes.

(a) ℓ2-error along training, (b) deviation of the pairs of layers from exact EM steps, (c) the same by pair, before and
after, (d) relative movement of every matrix, (e) every learning rate tried, (f) errors on other tasks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import style

STORED = Path(__file__).with_suffix(".json")
LOOKS = {
    "warm": (style.BLUE, "o", "-"),
    "warm, balanced": (style.VERMILLION, "s", "-"),
    "warm, balanced, tied": (style.ORANGE, "D", "--"),
    "scratch": (style.GREEN, "^", "-"),
    "scratch, small": (style.SKY, "v", "-"),
    "scratch, tied": (style.PURPLE, "<", "--"),
}
"""Arm -> colour, mark, line (dashed: tied)."""
SHOWN = "3"
"""K of the panels that show one."""
KINDS = ("Q", "K", "V", "O", "W1", "W2")


def read() -> dict[str, Any]:
    """The stored results."""
    content: dict[str, Any] = json.loads(STORED.read_text(encoding="utf-8"))
    return content


def chosen(arm: dict[str, Any]) -> list[dict[str, Any]]:
    """History of the run with the learning rate that validation chose."""
    history: list[dict[str, Any]] = next(each["history"] for each in arm["runs"] if each["rate"] == arm["rate"])
    return history


def draw_course(axes: Axes, stored: dict[str, Any], part: str) -> None:
    """(a), (b) a number of the history, K = 3, against the step."""
    for name, arm in stored["arms"].items():
        colour, mark, line = LOOKS[name]
        steps = [each["step"] for each in chosen(arm)]
        values = [each[part][SHOWN] for each in chosen(arm)]
        axes.plot(steps, values, line, marker=mark, markersize=3, color=colour, label=name)
    axes.set(xlabel="optimiser steps", yscale="log")


def draw_pairs(axes: Axes, stored: dict[str, Any]) -> None:
    """(c) distance from the exact EM step, pair by pair."""
    methods = {"construction": stored["references"]["construction"], **stored["arms"]}
    for name, method in methods.items():
        colour, mark, line = LOOKS.get(name, (style.BLACK, "x", ":"))
        values = method["agreement"][f"K = {SHOWN}"]["means"]
        axes.plot(range(1, len(values) + 1), values, line, marker=mark, markersize=3, color=colour, label=name)
    axes.set(xlabel="pair of layers", ylabel="distance of a mean", yscale="log", xticks=range(1, len(values) + 1))


def draw_movement(axes: Axes, stored: dict[str, Any]) -> None:
    """(d) ‖W − W₀‖/‖W₀‖ of every matrix, by its kind."""
    width = 0.8 / len(stored["arms"])
    for index, (name, arm) in enumerate(stored["arms"].items()):
        colour, mark, _ = LOOKS[name]
        for place, kind in enumerate(KINDS):
            moved = [each["relative"] for key, each in arm["movement"].items() if key.split(".")[-1] == kind]
            values = [each for each in moved if each]
            axes.plot(
                np.full(len(values), place + (index + 0.5) * width - 0.4),
                values,
                mark,
                markersize=2.5,
                color=colour,
            )
    axes.set(yscale="log", ylabel="relative movement", xlabel="matrix")
    axes.set_xticks(range(len(KINDS)), KINDS)


def draw_trade(axes: Axes, stored: dict[str, Any]) -> None:
    """(e) error against deviation from EM at the end of every run; rates are written at one arm's."""
    for name, arm in stored["arms"].items():
        colour, mark, _ = LOOKS[name]
        ends = [each["history"][-1] for each in arm["runs"] if not each["diverged"]]
        ratios, errors = ([end[part][SHOWN] for end in ends] for part in ("ratio", "error"))
        axes.plot(ratios, errors, mark, markersize=4, color=colour)
        if name == "warm":
            for each, x, y in zip(arm["runs"], ratios, errors, strict=False):
                axes.annotate(
                    style.number(each["rate"]), (x, y), (3, 3), textcoords="offset points", fontsize=5.5, color=colour
                )
    before = next(iter(stored["arms"].values()))["runs"][0]["history"][0]
    axes.plot(before["ratio"][SHOWN], before["error"][SHOWN], "x", color=style.BLACK)
    axes.set(xscale="log", yscale="log", xlabel="deviation from EM", ylabel="ℓ2-error")


def draw_tests(axes: Axes, stored: dict[str, Any]) -> None:
    """(f) ℓ2-errors on test tasks, with intervals."""
    methods = {name: stored["references"][name] for name in ("EM", "EM converged")} | stored["arms"]
    looks = {"EM": (style.BLACK, "x"), "EM converged": (style.GREY, "+")}
    names = list(stored["references"]["EM"]["tests"])
    width = 0.8 / len(methods)
    for index, (name, method) in enumerate(methods.items()):
        colour, mark = looks.get(name, LOOKS.get(name, (style.BLACK, "o", ""))[:2])
        errors = np.array([method["tests"][test]["error"] for test in names]).T
        place = np.arange(len(names)) + (index + 0.5) * width - 0.4
        axes.errorbar(
            place,
            errors[0],
            [errors[0] - errors[1], errors[2] - errors[0]],
            fmt=mark,
            markersize=3,
            color=colour,
            elinewidth=0.8,
            label=name if name in looks else None,
        )
    axes.set_xticks(range(len(names)), [name.replace(", ", "\n") for name in names], fontsize=6)
    axes.set(yscale="log", ylabel="ℓ2-error")
    axes.legend(loc="lower right")


def small_print(stored: dict[str, Any]) -> str:
    """Sizes, budget, what is the same for all."""
    setting = stored["setting"]
    least, most = setting["samples"]
    rates = "; ".join(f"{name}: {style.number(arm['rate'])}" for name, arm in stored["arms"].items())
    return (
        f"{2 * setting['em_steps']} layers, D = {setting['width']}, D′ = {max(setting['hidden'])}, float64; d = 2, "
        f"K = 2, 3, n = {least} to {most}, k-means++ starts; {setting['steps']} steps of {setting['batch']} tasks, "
        f"seed {setting['seed']}; {setting['tasks']} test tasks. Learning rates chosen: {rates}. "
        f"Panels (a), (b), (c), (e): K = {SHOWN}. Deviation: distances of the means after each pair of layers from an "
        "exact EM step's result, summed over the pairs, divided by the sum of the exact steps' lengths: 0 for EM, 1 "
        "for no step. Black cross in (c), (e): the construction before training."
    )


@style.styled
def figure() -> Figure:
    """The EM construction's weights, trained further, beside the same shapes trained from random numbers."""
    stored = read()
    picture = style.new_figure(6.6)
    panels = picture.subplots(3, 2)
    draw_course(panels[0, 0], stored, "error")
    panels[0, 0].set_ylabel("ℓ2-error")
    draw_course(panels[0, 1], stored, "ratio")
    panels[0, 1].set_ylabel("deviation from EM")
    draw_pairs(panels[1, 0], stored)
    draw_movement(panels[1, 1], stored)
    draw_trade(panels[2, 0], stored)
    draw_tests(panels[2, 1], stored)
    for axes, letter, text in zip(
        panels.ravel(),
        "abcdef",
        (
            "error in validation",
            "do pairs of layers make EM steps?",
            "distance from the exact step",
            "how far each matrix moved",
            "every learning rate",
            "test tasks, 95 % intervals",
        ),
        strict=True,
    ):
        style.panel_title(axes, letter, text)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside upper center", ncols=6)
    style.caption(picture, small_print(stored))
    return picture
