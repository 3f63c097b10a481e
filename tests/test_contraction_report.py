import flint
import numpy as np
import pytest

from constructions import contraction_report
from constructions.algorithms.sampling import Mixture
from constructions.em_class import TaskClass, split_tolerance
from constructions.em_enclosure import parameters

TASK_CLASS = TaskClass(1, 2, 10.0, 0.01)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.concatenate([rng.standard_normal((29, 1)) - 3, rng.standard_normal((31, 1)) + 3])


START = Mixture(np.array([0.5, 0.5]), np.array([[-2.0], [2.5]]))


def test_a_certificate_is_described_with_its_numbers(samples) -> None:
    found = contraction_report.seek(samples, START, TASK_CLASS, split_tolerance(TASK_CLASS, 0.01, "floor"))
    assert found is not None
    assert found.certified
    near = Mixture(np.exp([float(v) for v in found.point.log_weights]), np.array(found.point.means, dtype=float))
    estimates = [parameters(START), parameters(near)]
    text = "\n".join(contraction_report.describe(found, estimates))
    assert f"beta = {float(found.beta):.3f}" in text
    assert "this run is in it from step 2 on" in text
    content = contraction_report.as_json(found, estimates)
    assert (content["status"], content["entered"], content["rest_on"]) == ("holds", 2, ["em-run"])
    assert content["limit"]["mid"] == pytest.approx(float((found.s + found.eta) / (1 - found.beta)), rel=1e-9, abs=0)
    assert "has not entered" in "\n".join(contraction_report.describe(found, estimates[:1]))


def test_no_room_is_said_and_is_undecided(samples) -> None:
    found = contraction_report.seek(samples, START, TASK_CLASS, split_tolerance(TASK_CLASS, 5.0, "floor"))
    assert found is not None
    assert not found.certified
    assert "a smaller --tolerance" in contraction_report.describe(found, [])[0]
    assert contraction_report.as_json(found, []) == {"status": "undecided"}


def test_a_ball_outside_the_class_is_said(samples) -> None:
    heavy = TaskClass(1, 2, 10.0, 0.4999)
    found = contraction_report.seek(samples, START, heavy, split_tolerance(heavy, 0.01, "floor"))
    assert found is not None
    assert "may be below 0.4999" in contraction_report.describe(found, [])[0]


def test_what_is_too_large_is_not_tried(monkeypatch, samples) -> None:
    monkeypatch.setattr(contraction_report, "LARGEST", len(samples) * 16 - 1)
    found = contraction_report.seek(samples, START, TASK_CLASS, split_tolerance(TASK_CLASS, 0.01, "floor"))
    assert found is None
    assert "not tried" in contraction_report.describe(found, [])[0]
    assert flint.ctx.prec == 53
