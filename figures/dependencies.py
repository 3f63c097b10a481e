"""What rests on what: the ledger's rows in columns by depth, edges from a row to those that rest on it.

Computed from the registered statements alone: their grade, lowered to the weakest that they rest on, and their claimed
status, which the tests demand that the checks find. An edge that follows from others is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from figures import style
from theory_checks import paper
from theory_checks.ledger import EVIDENCE, REGISTRY, Evidence, Statement, Status, closure
from theory_checks.running import load_statements

Registry = Mapping[str, Statement]
Spot = tuple[str, str]
"""A row as (id, id), or a place in a column that an edge passes."""
GRADES: dict[Evidence, tuple[str, str]] = {
    "exact": (style.BLUE, "o"),
    "certified": (style.GREEN, "s"),
    "sampled": (style.ORANGE, "^"),
    "rate": (style.PURPLE, "D"),
}
NOT_HOLDING: dict[Status, tuple[str, str]] = {
    "refuted": (style.VERMILLION, "X"),
    "open": (style.BLACK, "v"),
    "undecided": (style.SKY, "P"),
    "no claim": (style.GREY, "_"),
}
SWEEPS = 24
PASSAGE = 0.5
"""Lines that an edge takes where it passes a column; a row takes one."""
ISOLATED_COLUMNS = 4
LINE = 0.135
"""Inches from one row to the next."""


def depths(registry: Registry) -> dict[str, int]:
    """0 for what rests on nothing, else one more than the deepest of what it rests on."""
    found: dict[str, int] = {}
    for id in closure(registry, dict(registry)):
        found[id] = 1 + max((found[below] for below in registry[id].depends_on), default=-1)
    return found


def edges(registry: Registry) -> list[tuple[str, str]]:
    """(below, above) for every dependency that does not follow from the others."""
    kept = []
    for id, statement in registry.items():
        for below in statement.depends_on:
            others = [other for other in statement.depends_on if other != below]
            if below not in closure(others, dict(registry)):
                kept.append((below, id))
    return kept


def grade(id: str, registry: Registry) -> Evidence:
    """The weakest evidence among the row and all it rests on."""
    return max((registry[below].evidence for below in closure([id], dict(registry))), key=EVIDENCE.index)


def status(id: str, registry: Registry) -> Status:
    """What the row claims; open if it rests on one that does not claim to hold."""
    below = [status(other, registry) for other in registry[id].depends_on]
    return "open" if registry[id].claim == "holds" and any(it != "holds" for it in below) else registry[id].claim


def mark(id: str, registry: Registry) -> tuple[str, str]:
    """Colour and shape: of the grade if it holds, else of the status."""
    held = status(id, registry)
    return GRADES[grade(id, registry)] if held == "holds" else NOT_HOLDING[held]


def chains(registry: Registry) -> list[list[Spot]]:
    """Every edge as spots in successive columns: its two rows, and places kept free for it in between."""
    column, found = depths(registry), []
    for below, above in edges(registry):
        passed = [(f"{below} {above}", str(c)) for c in range(column[below] + 1, column[above])]
        found.append([(below, below), *passed, (above, above)])
    return found


def places(registry: Registry) -> dict[Spot, tuple[float, float]]:
    """(column, line) of the spots of all edges: near those they are joined to, and apart from those in their column."""
    column, joined = depths(registry), chains(registry)
    near: dict[Spot, list[Spot]] = {}
    columns: dict[Spot, int] = {}
    for chain in joined:
        for n, spot in enumerate(chain):
            columns[spot] = column[chain[0][0]] + n
            near.setdefault(spot, []).extend([*chain[max(0, n - 1) : n], *chain[n + 1 : n + 2]])
    members = [[spot for spot in columns if columns[spot] == c] for c in range(1 + max(columns.values()))]
    line = {spot: float(n) for spots in members for n, spot in enumerate(spots)}
    for sweep in range(SWEEPS):
        for spots in members if sweep % 2 else members[::-1]:
            wanted = {spot: float(np.mean([line[other] for other in near[spot]])) for spot in spots}
            ordered = sorted(spots, key=lambda spot: (wanted[spot], line[spot]))
            sizes = np.array([1.0 if spot[0] == spot[1] else PASSAGE for spot in ordered])
            offsets = np.cumsum(sizes) - sizes / 2
            spread = isotonic_regression([wanted[spot] for spot in ordered] - offsets).x + offsets
            line.update(zip(ordered, spread.tolist(), strict=True))
    used = sorted(set(line.values()))  # lines that nothing uses are left out
    drawn = dict(zip(used, np.cumsum([0.0, *np.minimum(np.diff(used), 1)]).tolist(), strict=True))
    return {spot: (columns[spot], drawn[line[spot]]) for spot in columns}


def isolated(registry: Registry, linked: Sequence[str], columns: float, first: float) -> dict[str, tuple[float, float]]:
    """The other rows in a block below, column by column; those that claim nothing last."""
    others = sorted((id for id in registry if id not in linked), key=lambda id: (registry[id].claim == "no claim", id))
    lines = ceil(len(others) / ISOLATED_COLUMNS)
    return {id: (n // lines * columns / ISOLATED_COLUMNS, first + n % lines) for n, id in enumerate(others)}


def draw(axes: Axes, registry: Registry) -> float:
    """Everything; returns the number of lines."""
    spots = places(registry)
    rows: dict[str, tuple[float, float]] = {id: place for (id, other), place in spots.items() if id == other}
    first = max(line for _, line in spots.values()) + 2.5
    rows |= isolated(registry, list(rows), 1 + max(column for column, _ in spots.values()), first)
    t = np.linspace(0, 1, 33)
    for chain in chains(registry):
        for start, end in pairwise(chain):
            (x, y), (u, v) = spots[start], spots[end]
            axes.plot(x + t * (u - x), y + (3 * t**2 - 2 * t**3) * (v - y), color=style.GREY, linewidth=0.5, zorder=1)
    for id, (x, y) in rows.items():
        numbered, (colour, marker) = bool(registry[id].paper), mark(id, registry)
        inside = colour if numbered else "white"
        axes.plot(x, y, marker, color=colour, markersize=4.5, zorder=3, markerfacecolor=inside)
        text = axes.text(x + 0.06, y, id, fontsize=5.5, va="center", zorder=2, weight="bold" if numbered else "normal")
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8})
    axes.text(-0.04, first - 1.1, "nothing rests on these, and they rest on nothing", fontsize=6.5, color=style.GREY)
    return max(y for _, y in rows.values())


def legend(axes: Axes, registry: Registry) -> None:
    """Grade or status by colour and shape; filled and bold where the paper numbers the statement."""
    used = {mark(id, registry) for id in registry}
    names = {**{str(name): it for name, it in GRADES.items()}, **{str(name): it for name, it in NOT_HOLDING.items()}}
    marks = [(name, *it, it[0]) for name, it in names.items() if it in used]
    marks += [
        ("numbered in the paper (bold)", style.BLACK, "o", style.BLACK),
        ("not numbered there", style.BLACK, "o", "white"),
    ]
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, markersize=4.5, markerfacecolor=inside, label=name)
        for name, colour, marker, inside in marks
    ]
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, handletextpad=0.1)


def small_print(registry: Registry) -> str:
    """Counts."""
    found = Counter(status(id, registry) for id in registry)
    missing = paper.without_row(registry)
    return (
        f"{len(registry)} rows: {', '.join(f'{name} {count}' for name, count in found.most_common())}. "
        f"{len(paper.NAMES) - len(missing)} of the paper's {len(paper.NAMES)} statements have a row. "
        "From left to right: what rests on nothing, then what rests on it, and so on; edges that follow from others "
        "are left out. A grade is the weakest of the row's own and of what it rests on."
    )


@style.styled
def figure() -> Figure:
    """The dependency graph of the ledger: what rests on what, on which evidence."""
    load_statements()
    probe = Figure().subplots()
    lines = draw(probe, REGISTRY)
    picture = style.new_figure(LINE * (lines + 2) + 1.1)
    axes = picture.subplots()
    draw(axes, REGISTRY)
    columns = 1 + max(depths(REGISTRY).values())
    axes.set(xlim=(-0.08, columns + 0.02), ylim=(lines + 0.8, -0.8))
    axes.axis("off")
    legend(axes, REGISTRY)
    style.caption(picture, small_print(REGISTRY))
    return picture
