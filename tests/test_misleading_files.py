"""Files that people report of tools like this one: of each the right answer, or the sentence that leads to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, Outcome, in_process

MEANS = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
WEIGHTS = np.array([0.3, 0.3, 0.4])
QUICK = "--restarts 2 --iterations 2"
Write = Callable[[Sequence], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A table as text, every number in full."""

    def write(table: Sequence) -> Path:
        np.savetxt(tmp_path / "x.csv", table, delimiter=",", fmt="%.17g")
        return tmp_path / "x.csv"

    return write


@pytest.fixture
def em(em_command: Command, tmp_path: Path) -> Callable[[str], Outcome]:
    """EM on x.csv."""
    return lambda words: em_command("--data", tmp_path / "x.csv", *words.split())


@pytest.fixture
def spectral(spectral_command: Command, tmp_path: Path) -> Callable[[str], Outcome]:
    """The spectral method on x.csv."""
    return lambda words: spectral_command("--data", tmp_path / "x.csv", *words.split(), *QUICK.split())


@pytest.fixture
def estimate(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[[str], Outcome]:
    """`tgmm estimate` with a shipped model on x.csv."""
    from tgmm.__main__ import main

    run = in_process(main, capfd)
    return lambda words: run("estimate", "--data", tmp_path / "x.csv", *words.split())


@pytest.fixture
def mixture(rng: np.random.Generator) -> np.ndarray:
    """97 samples of three means, unit noise."""
    return MEANS[rng.choice(3, 97, p=WEIGHTS)] + rng.standard_normal((97, 2))


def shown(outcome: Outcome) -> np.ndarray:
    """The means in the file's units, as they are printed, from left to right."""
    rows = outcome.out.split("in the file's units\n")[1].split("\n\n")[0].splitlines()
    return np.array(sorted([float(word) for word in row.split("(")[1][:-1].split(", ")] for row in rows))


@pytest.mark.parametrize("scale", [1e-6, 1e3, 1e30], ids=str)
def test_units(scale: float, mixture: np.ndarray, write: Write, em: Callable[[str], Outcome]) -> None:
    """Metres where the noise is a micron, or a kilometre: --scale finds what is there, in the file's units."""
    write(scale * mixture)
    done = em("--components 3")
    assert "--scale unit-noise" in done.err
    if scale < 1:
        assert "warning: the means of components 1 and 2 coincide" in done.err
        assert "times the noise's that the model assumes" in done.err
    else:
        done.assert_refused("--scale unit-noise centres and scales the columns: then the largest norm is")
    done = em("--components 3 --scale unit-noise")
    assert done.code == 0
    assert "warning" not in done.err
    assert np.allclose(shown(done) / scale, sorted(MEANS.tolist()), rtol=0, atol=0.6)


@pytest.mark.parametrize("offset", [10, 1e6, 1e12], ids=str)
def test_far_from_the_origin(offset: float, mixture: np.ndarray, write: Write, em: Callable[[str], Outcome]) -> None:
    """Centring helps, and loses no more than the file has lost."""
    write(mixture + offset)
    em("--components 3").assert_refused("--centre subtracts the mean, which EM follows: then the largest norm is")
    done = em("--components 3 --centre")
    assert done.code == 0
    assert "warning" not in done.err
    assert np.allclose(shown(done) - offset, sorted(MEANS.tolist()), rtol=0, atol=0.6)


def test_two_far_points(write: Write, em: Callable[[str], Outcome]) -> None:
    write([[9999.0], [0.0]])
    em("--components 2").assert_refused("sample 1 of 2 has norm 9999", "--scale unit-noise centres and scales")
    means = shown(em("--components 2 --scale unit-noise"))
    assert (means > 0).all()
    assert (means < 9999).all()
    assert means.sum() == pytest.approx(9999, rel=1e-3, abs=0)  # a pair about the middle


@pytest.mark.parametrize(
    ("outlier", "helps"),
    [
        ([9.5, -9.9], "--radius 14 holds all samples; 1 of 98 samples is an outlier, perhaps"),
        ([1e9, 1e9], "a transformer for a --radius that holds all samples is too large to build; 1 of 98 samples is"),
        ([1.7e308, -1.7e308], "has norm inf, outside"),
    ],
    ids=["near", "far", "beyond squares"],
)
def test_one_distant_outlier(
    outlier: list[float], helps: str, mixture: np.ndarray, write: Write, em: Callable[[str], Outcome]
) -> None:
    write([*mixture, outlier])
    em("--components 3 --max-components 3").assert_refused("sample 98 of 98 has norm", helps)
    if outlier[0] < 10:
        assert em("--layers 2 --components 3 --radius 14").code == 0


def test_more_components_than_samples(write: Write, em, spectral, estimate) -> None:
    write([[1.0, 2.0], [0.0, 3.0], [2.0, 2.0]])
    for command in (em, spectral, estimate):
        command("--components 5").assert_refused("there are 5 components")


def test_one_component_is_the_mean_of_the_samples(write: Write, em, spectral) -> None:
    x = np.array([[0.5, 1.0], [2.0, -1.0], [1.0, 3.0]])
    write(x)
    done = em("--components 1 --json -").json
    assert done["weights"] == [1]
    assert np.allclose(done["means"], x.mean(axis=0), rtol=0, atol=1e-15)
    assert {step["status"] for step in done["bounds"]["steps"]} == {"holds"}
    write(x[:1])
    done = em("--components 1 --json -").json
    assert done["means"] == x[:1].tolist()
    assert "no bound says anything: all samples are equal" in done["warnings"]
    done = spectral("--components 1")
    assert done.code == 0
    assert "above 1" not in done.err
    assert "there are 1 samples in dimension 2: sigma^2, the least variance of any direction, is 0 then" in done.err


def test_two_points_many_times(write: Write, em: Callable[[str], Outcome]) -> None:
    """Five components for two points: each at one of them, and that means coincide is said."""
    points = np.array([[-1.0, 2.0], [3.0, -1.0]])
    write(np.repeat(points, 50, axis=0))
    done = em("--components 5 --json -")
    assert np.linalg.norm(np.array(done.json["means"])[:, None] - points, axis=2).min(axis=1).max() < 1e-3
    assert any("coincide" in sentence for sentence in done.json["warnings"])
    assert sum(done.json["weights"]) == pytest.approx(1, rel=0, abs=1e-12)


def test_a_column_of_ties(write: Write, em: Callable[[str], Outcome]) -> None:
    write([[value] for value in (0.8, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0, 1.1, 1.1, 1.2)])
    assert "warning: the means of components 1 and 2 coincide" in em("--components 2").err
    means = shown(em("--components 2 --scale unit-noise"))
    assert means[1] - means[0] > 0.05


def test_one_row_of_many_columns(write: Write, em, spectral, estimate) -> None:
    write([np.arange(1.0, 56)])
    em("--components 1").assert_refused("sample 1 of 1 has norm", "--centre")
    assert "no bound says anything: all samples are equal" in em("--components 1 --centre").err
    assert "there are 1 samples in dimension 55" in spectral("--components 1").err
    estimate("--components 2").assert_refused("the samples have dimension 55")


def test_the_count_of_the_rows_is_no_coordinate(write: Write, mixture, tmp_path, em, spectral, estimate) -> None:
    """An index under pandas' header and a counting column: what every command says without it, and a note."""
    write(mixture)
    runs = ((em, "--components 3 --layers 4 --json -"), (spectral, "--components 2 --json -"))
    runs = (*runs, (estimate, "--components 3 --json -"))
    expected = [command(words).json for command, words in runs]
    rows = "".join(f"{number},{','.join(map(repr, row))}\n" for number, row in enumerate(mixture.tolist()))
    for header, note in ((",a,b\n", "column 1 holds the rows' names"), ("", "column 1 counts the rows, 0 to 96")):
        (tmp_path / "x.csv").write_text(header + rows)
        for (command, words), content in zip(runs, expected, strict=True):
            found = command(words).json
            assert note in found["data"].pop("preparation")
            assert {**content["data"], **found["data"]} == content["data"]
            assert found | {"data": 0} == content | {"data": 0}
    (tmp_path / "x.csv").write_text(",v\n" + "".join(f"{n},{row[0]!r}\n" for n, row in enumerate(mixture.tolist())))
    spectral("--components 2").assert_refused("2 components in dimension 1")
    estimate("--components 2").assert_refused("the samples have dimension 1")


def test_starts(write: Write, mixture: np.ndarray, tmp_path: Path, em: Callable[[str], Outcome]) -> None:
    """A byte-order mark changes nothing; equal means stay equal, which is said; a weight near 0 is not applicable."""
    write(mixture)
    start = tmp_path / "start.json"
    text = f'{{"weights": [0.3, 0.3, 0.4], "means": {MEANS.tolist()}}}'
    found = []
    for encoding in ("utf-8", "utf-8-sig"):
        start.write_text(text, encoding=encoding)
        found.append(em(f"--layers 4 --init {start} --json -").json)
    assert found[0] == found[1]
    start.write_text('{"weights": [0.3, 0.3, 0.4], "means": [[1, 1], [1, 1], [1, 1]]}')
    assert "warning: the means of components 1 and 2 coincide" in em(f"--init {start}").err
    start.write_text(text.replace("[0.3, 0.3", "[1e-320, 0.6"))
    statuses = [step["status"] for step in em(f"--layers 6 --init {start} --json -").json["bounds"]["steps"]]
    assert statuses[1:] == ["not applicable"] * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x, []),
        (lambda x: 10 * x, []),
        (lambda x: x[:, :2], []),
        (lambda x: np.hstack([x, np.full((len(x), 1), 7.0)]), ["sigma^2 is 0: a column is constant"]),
        (lambda x: np.hstack([x, x[:, :1]]), ["sigma^2 is 0: a column is constant or depends on the others"]),
    ],
    ids=["good", "noise 10", "K = d", "a constant column", "a column twice"],
)
def test_noise_that_the_spectral_method_cannot_see(
    change: Callable[[np.ndarray], np.ndarray], said: list[str], write: Write, spectral: Callable[[str], Outcome]
) -> None:
    write(change(pair([5, 0, 0], [0, 5, 0])))
    assert starts(spectral("--components 2 --json -").json["warnings"], said) == said


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([3, 0, 0], [-3, 0, 0], ["a weight is", "the weights sum to", "eigenvalue 2 of M2 is"]),
        ([3, 0, 0], [6, 0, 0], ["the weights sum to", "eigenvalue 2 of M2 is"]),
        ([0, 0, 0], [0, 5, 0], ["eigenvalue 2 of M2 is"]),
    ],
    ids=["centred", "collinear", "a mean at 0"],
)
def test_means_that_are_dependent(
    first: list[int], second: list[int], said: list[str], write: Write, spectral: Callable[[str], Outcome]
) -> None:
    """M2 has one eigenvalue beyond noise; what comes of the second is warned of, weights or not."""
    write(pair(first, second))
    warnings = spectral("--components 2 --json -").json["warnings"]
    assert starts(warnings[-len(said) :], said) == said


def pair(first: list[int], second: list[int]) -> np.ndarray:
    """1009 samples of each of two means in R^3."""
    samples = np.random.default_rng(7).standard_normal((1009, 2, 3)) + np.array([first, second])
    return samples.reshape(-1, 3)


def starts(sentences: list[str], said: list[str]) -> list[str]:
    """The beginnings of as many sentences."""
    return [sentence[: len(start)] for sentence, start in zip(sentences, said, strict=True)]
