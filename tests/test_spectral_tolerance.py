"""The tolerances of the spectral comparison, term by term (proofs_notes/spectral.md), and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from terms import Terms, assert_terms

from constructions import spectral_transformer
from constructions.algorithms.sampling import sample, simplex_mixture
from constructions.direction_bound import DirectionBound
from constructions.rounding_error import gamma
from constructions.spectral_transformer import Call, Component, SpectralRun, compare, run

UNIT = 2.0**-53
COMPONENTS, DIM = 3, 5


@pytest.fixture(scope="module")
def result() -> SpectralRun:
    """Three components, 5 apart, in R⁵."""
    rng = np.random.default_rng(3)
    samples = sample(simplex_mixture(DIM, COMPONENTS, 5.0, rng), 1009, rng)[0]
    return run(samples, COMPONENTS, seed=1, restarts=3, iterations=5)


def restated(t: Terms, result: SpectralRun, deltas: tuple[float, ...]) -> list[float]:
    """Means' and weights' tolerances, where the directions of the three components are δ_k apart.

    |Δλ| ≤ ‖T‖((1+δ)³ − 1) + ζ(1+δ)³ + ρ; ζ⁺ = ζ + |Δλ|(1+δ)³ + λ((1+δ)³ − 1) + ρ; ‖Δμ‖ ≤ ‖B‖(|Δλ| + (λ + |Δλ|)δ);
    |Δπ|/π ≤ (1 − |Δλ|/λ)^{−2} − 1; ρ = γ_{4K³+40}(‖T‖ + λ), and γ_{4d²+40} for what follows from λ and θ.
    """
    reference, values = result.reference, []
    zeta = 0.0
    for k, (value, delta) in enumerate(zip(map(float, reference.eigenpairs.values), deltas, strict=True)):
        size = float(np.linalg.norm(result.iterate.calls[2 * k].tensor))
        rho = t("rounding of T", gamma(4 * COMPONENTS**3 + 40, UNIT) * size)
        rho += t("rounding of the eigenvalue", gamma(4 * COMPONENTS**3 + 40, UNIT) * value)
        cubed = (1 + delta) ** 3
        off = t("direction in T", size * (cubed - 1)) + t("deflated before", zeta * cubed) + t("its rounding", rho)
        zeta += t("eigenvalue in what is deflated", off * cubed)
        zeta += t("direction in what is deflated", value * (cubed - 1)) + t("rounding of what is deflated", rho)
        own = gamma(4 * len(reference.eigenvalues) ** 2 + 40, UNIT)
        length = float(np.sqrt(reference.eigenvalues[0]))
        direction = t("direction of the mean", delta) + t("rounding of the mean", own)
        values.append(length * (t("eigenvalue of the mean", off) + (value + t("both", off)) * direction))
        share = t("eigenvalue of the weight", off / value)
        values.append(share * (2 - share) / (1 - share) ** 2 + t("rounding of the weight", own))
    return values


def stated(result: SpectralRun, deltas: tuple[float, ...]) -> list[float]:
    """The same of the code, told the distances of the directions."""
    given = iter(deltas)
    calls = [Call(c.tensor, c.starts, c.steps, c.results) for c in result.iterate.calls]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spectral_transformer, "_chosen", lambda *_: (DirectionBound(next(given), 1.0, 1.0), ""))
        components = compare(result.transformer, result.reference, result.iterate, calls)
    return [value for c in components for value in (c.mean_tolerance, c.weight_tolerance)]


def test_every_term_of_the_tolerances_is_seen(result):
    """Directions that do not differ, so that rounding is all; large ones; one large one before the last component."""
    instances = [(result, (0.0, 0.0, 0.0)), (result, (0.01, 0.02, 0.03)), (result, (0.0, 0.03, 0.0))]
    assert all(np.isfinite(stated(*instance)).all() for instance in instances)
    # (1+δ)³ − 1 at δ = 0 is exact; some 100 operations on numbers of one sign, differences of size 0.01 aside.
    assert_terms(stated, restated, instances, rel=1e-11)


@pytest.mark.parametrize("part", ["mean", "weight"])
@pytest.mark.parametrize(("times", "status"), [(0.0, "holds"), (0.99, "holds"), (1.01, "refuted"), (10.0, "refuted")])
def test_a_component_off_by_so_many_tolerances(result, part, times, status):
    """Each of the two is judged alone, and against its tolerance, not a multiple of it."""
    component = replace(result.components[0], mean_error=0.0, weight_error=0.0)
    tolerance = getattr(component, f"{part}_tolerance")
    assert 0 < tolerance < 1
    assert replace(component, **{f"{part}_error": times * tolerance}).status == status


@pytest.mark.parametrize("part", ["mean_error", "weight_error"])
def test_an_error_that_is_not_a_number_is_refuted(part):
    component = Component(0.0, 1e-3, 0.0, 1e-3)
    assert component.status == "holds"
    assert replace(component, **{part: np.nan}).status == "refuted"


@pytest.mark.parametrize(
    ("mean", "weight", "status"), [(np.inf, 0.5, "vacuous"), (1e-3, 1.0, "vacuous"), (1e-3, 0.999, "holds")]
)
def test_a_tolerance_that_says_nothing_is_vacuous(mean, weight, status):
    assert Component(0.0, mean, 0.0, weight).status == status
