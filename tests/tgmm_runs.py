"""A training run and an evaluation that take seconds, for the tests of what trains, resumes and estimates."""

from __future__ import annotations

from pathlib import Path

SMOKE = """
[tasks]
dim = 2
components = [2, 3]
samples = [11, 17]

[model]
layers = 1
heads = 2
width = 14
embedding = 5

[training]
steps = 30
batch = 7
warmup = 4
log = 3
checkpoint = 6
validation = 5
"""

GRID = """
[defaults]
d = 2
K = 3
n = 13
perturbation = 0
separation = 0
scales = "unit"
seed = 5
tasks = 7
"""
"""The defaults of an evaluation that takes seconds; sweeps follow."""


def smoke(folder: Path, **replaced: object) -> Path:
    """The config in a file, with some values replaced."""
    text = SMOKE
    for key, value in replaced.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.splitlines()]
        if lines == text.splitlines():
            lines.append(f"{key} = {value}")  # into the last table, [training]
        text = "\n".join(lines) + "\n"
    path = folder / "smoke.toml"
    path.write_text(text)
    return path
