"""Every command of the project: a module to run, and the word after it where it has several."""

from __future__ import annotations

from tgmm.__main__ import COMMANDS as TGMM

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("constructions.em_transformer",),
    ("constructions.tensor_power_transformer",),
    ("constructions.spectral_transformer",),
    ("theory_checks",),
    ("theory_checks", "verify"),
    ("theory_checks", "diff"),
    ("theory_checks.falsify",),
    ("theory_checks.sweeps",),
    ("theory_checks.calibration",),
    ("theory_checks.confirmation",),
    ("theory_checks.explicit_radii",),
    ("theory_checks.phase_diagram",),
    ("theory_checks.precision_map",),
    ("theory_checks.uniform_deviations",),
    ("tgmm",),
    *(("tgmm", name) for name in TGMM),
    ("figures",),
)
