"""`python -m tgmm table`: the stored results of an experiment as a table in Markdown."""

from __future__ import annotations

import argparse

import numpy as np

from constructions.errors import InputError, meant
from tgmm.evaluation import COLUMNS, DESIGN, require_current
from tgmm.options import AXES
from theory_checks.sweeps import results

KEYS = (*AXES, "d")


def run(options: argparse.Namespace) -> int:
    """Print the table; 0 on success."""
    metrics = [name for name in COLUMNS if not name.endswith(("_low", "_high", "checkpoint"))]
    if options.metric not in metrics:
        near = meant(options.metric, metrics)
        raise InputError(f"--metric is {options.metric!r}{near}; it must be one of {', '.join(metrics)}")
    stored = results.read(options.results, DESIGN)
    rows = np.concatenate([stored.sweep(name) for name in dict.fromkeys(options.sweeps)])
    for given in options.where:
        rows = _only(rows, given)
    if len(np.unique(rows["d"])) > 1:
        raise InputError(f"the sweeps have d = {', '.join(map(str, np.unique(rows['d'])))}; a table is of one")
    require_current(rows)
    print(table(rows, options.metric, options.along))
    return 0


def table(rows: np.ndarray, metric: str, along: str) -> str:
    """The Markdown of the rows' means and intervals; an InputError if a cell of the table would hold several."""
    values = np.unique(rows[along])
    lines = [f"| {metric} | " + " | ".join(f"{along} = {value:g}" for value in values) + " |"]
    lines.append("| --- |" + " --- |" * len(values))
    for method in dict.fromkeys(rows["method"].tolist()):
        cells = []
        for value in values:
            own = rows[(rows["method"] == method) & (rows[along] == value)]
            if len(own) > 1:
                raise InputError(
                    f"{method!r} has {len(own)} results at {along} = {value:g}: the sweeps differ in more than {along}"
                )
            cells.append(_shown(own[0], metric) if len(own) else "–")
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _only(rows: np.ndarray, given: str) -> np.ndarray:
    """The rows with one value of one key of the cells."""
    key, _, text = given.partition("=")
    if key not in KEYS:
        raise InputError(
            f"--where is {given!r}{meant(key, KEYS)}; it must be KEY=VALUE with a KEY of {', '.join(KEYS)}"
        )
    try:
        kept = rows[rows[key] == float(text)]
    except ValueError:
        raise InputError(f"--where is {given!r}; {text!r} is no number") from None
    if not len(kept):
        raise InputError(f"--where is {given!r}; there are {', '.join(f'{key}={v:g}' for v in np.unique(rows[key]))}")
    return kept


def _rounded(number: float | int) -> str:
    """A float to three digits; without the point after 252 that keeps the zero of 0.0250. A count as it is."""
    return f"{number:#.3g}".removesuffix(".") if isinstance(number, float) else str(number)


def _shown(row: np.void, metric: str) -> str:
    text = _rounded(row[metric].item())
    if f"{metric}_low" in (row.dtype.names or ()):
        text += f" [{_rounded(row[f'{metric}_low'].item())}, {_rounded(row[f'{metric}_high'].item())}]"
    return text + (f" ({row['excluded']} failed)" if row["excluded"] else "")
