import numpy as np
import pytest

from constructions.errors import InputError
from theory_checks.precision_settings import FORMATS, Setting, Subject, build, log_network, rounded

# Other instances than the map's: primes for all sizes; of 31 + 6 samples 36 are kept.
SIZES = {"components": 3, "dim": 5, "drawn": 31, "contested": 6}
SEEDS = (11,)


def subject(separation, construction, orientation):
    return Subject(Setting(separation, construction, orientation, True, **SIZES), SEEDS)


@pytest.mark.parametrize(("name", "separation"), [("float16", 2), ("bfloat16", 11), ("float32", 11)])
def test_weights_that_a_format_cannot_hold_are_refused(name, separation):
    given, dtype = subject(separation, "paper", "left"), FORMATS[name]
    with pytest.raises(InputError, match="log A"):
        build(given, dtype)
    _, (infinite, zero, count) = rounded(given, dtype)
    assert 0 < infinite < count
    assert 0 < zero < count


@pytest.mark.parametrize("facing", ["left", "right"])
def test_chords_are_the_network(facing):
    given = subject(2, "floor", facing)
    w = np.geomspace(1e-4, 1, 53)
    units = given.sizes.networks(facing)["log"](w)
    np.testing.assert_allclose(log_network(given, w), units, rtol=0, atol=1e-12)
