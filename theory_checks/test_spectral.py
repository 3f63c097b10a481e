"""Algorithm B.2 with its power iterations done by the transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from constructions.algorithms.sampling import Mixture, sample, simplex_mixture
from constructions.algorithms.spectral import decompose, population_moments, spectral
from constructions.datasets import load_bundled
from constructions.errors import InputError
from constructions.spectral_transformer import TransformerIteration, run
from constructions.tensor_power_transformer import build
from theory_checks import tensor_subjects as subjects
from theory_checks.ledger import Verdict, compare, require, statement

RESTARTS, ITERATIONS = 20, 5
Make = Callable[[], TransformerIteration]


def samples_of(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, int]]:
    """Synthetic mixtures with independent means, and real data, not centred."""
    for dim, components, count in ((2, 1, 211), (3, 2, 2003), (5, 3, 4001), (7, 5, 20011)):
        drawn, _ = sample(simplex_mixture(dim, components, 5.0, rng), count, rng)
        yield f"synthetic d={dim} K={components} N={count}", drawn, components
    for name, kept in (("iris", None), ("wine", 8), ("wine", 13)):
        data = load_bundled(name, 3, kept, None, np.random.default_rng(0), centred=False)
        yield f"{name} d={data.samples.shape[1]}", data.samples, 3


@statement(
    "spectral",
    source="Algorithm B.2, its power iterations by the transformer",
    text="ours",
    evidence="sampled",
    depends_on=("remark-g2", "execution-rounding"),
    paper=("Algorithm B.2",),
    rounding=True,
)
def spectral_row(
    rng: np.random.Generator, *, make: Make = lambda: TransformerIteration(8), scale: float = 1.0
) -> Iterator[Verdict]:
    """Whitened third moments of samples, decomposed by restarts and deflation with the normalised transformer as the
    power iteration, give the means and weights of the reference iteration within a tolerance derived from rounding
    alone. Where M2 has fewer than K positive eigenvalues, or the data is centred, it says so.
    """
    for name, samples, components in samples_of(rng):
        try:
            found = run(samples, components, 0, RESTARTS, ITERATIONS, make())
        except InputError as error:
            yield require(False, f"{name}: {error}")
            continue
        for k, c in enumerate(found.components, start=1):
            size = float(np.linalg.norm(found.reference.mixture.means[k - 1]))
            yield compare(c.mean_error, scale * c.mean_tolerance, f"{name}: mean {k}", trivial=size)
            yield compare(c.weight_error, scale * c.weight_tolerance, f"{name}: weight {k}", trivial=1.0)
    centred = load_bundled("wine", 3, None, None, np.random.default_rng(0)).samples
    yield require(_says(lambda: spectral(centred, 3, rng, iterate=make()), "centred"), "wine, centred: it says so")
    dependent = Mixture(np.array([0.3, 0.3, 0.4]), np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 2.0, 0]]))
    moments = population_moments(dependent)
    said = _says(lambda: decompose(moments, 3, rng, iterate=make()), "2 positive eigenvalues")
    yield require(said, "three means in a plane through 0: it says so")


def _says(attempt: Callable[[], object], words: str) -> bool:
    try:
        attempt()
    except InputError as error:
        return words in str(error)
    return False


def _broken(fault: str) -> Make:
    def make() -> TransformerIteration:
        iterate = TransformerIteration(8)
        iterate.model = build(8, 1, subjects.broken(iterate.model.form, fault))
        return iterate

    return make


class OneStepLess(TransformerIteration):
    """A transformer with four layers too few."""

    def __call__(self, tensor: np.ndarray, starts: np.ndarray, steps: int) -> np.ndarray:
        """One iteration less than was asked for."""
        results = super().__call__(tensor, starts, steps - 1)
        self.calls[-1] = replace(self.calls[-1], steps=steps)
        return results


for fault in ("one head missing", "a sign dropped in the odd layer", "new not cleared"):
    spectral_row.control(fault, make=_broken(fault))
spectral_row.control("one iteration less", make=lambda: OneStepLess(8))
spectral_row.control("the tolerance lowered a millionfold", scale=1e-6)
test_spectral, test_spectral_controls = spectral_row.tests()
