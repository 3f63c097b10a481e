"""How EM's statistical error grows when one component gets lighter and the separation does not: fresh data, a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from theory_checks import confirmation
from theory_checks.ledger import Verdict, statement
from theory_checks.rate_verdicts import at_most
from theory_checks.test_theorem_f1_rate import found


@statement(
    "theorem-f1-min-weight",
    source="the power of pi_min in Theorem F.1's statistical term, at a fixed separation, which leaves (A1)",
    text="ours",
    evidence="rate",
    depends_on=("sweep",),
    claim="refuted",
    note="theorem_f1_rate",
    figure="theorem_f1_plateau",
)
def theorem_f1_min_weight(
    rng: np.random.Generator, *, separations: Sequence[float] = (3.0, 4.0), power: float = 0.0
) -> Iterator[Verdict]:
    """FALSE: the distance of EM's fixed point from the truth grows no faster than π_min^{−1/2} as one of two components
    at a fixed distance gets lighter.

    Measured: π_min from 1/4 to 1/64, n = 16384, d = 2. Three grids and two rules had been tried when it was first
    called false; grid, rule and false alarm (1e-9) of this verdict were written down before its data were drawn.
    """
    plan = confirmation.planned()
    for separation in separations:
        rows = found().sweep(confirmation.FRESH[separation])
        label = f"exponent of 1/pi_min, R={separation:g}, n={rows['n'][0]}"
        yield at_most(confirmation.exponent(rows, power), plan.limit, label, plan.margin)


theorem_f1_min_weight.repair("components 8 apart, which hardly overlap", separations=(8.0,))
theorem_f1_min_weight.control(
    "components 8 apart, errors divided by sqrt(pi_min)", spoils="components 8 apart, which hardly overlap", power=-0.5
)
test_theorem_f1_min_weight, test_theorem_f1_min_weight_controls = theorem_f1_min_weight.tests()
