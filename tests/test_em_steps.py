import numpy as np
import pytest

from constructions import em_enclosure
from constructions.algorithms.sampling import Mixture
from constructions.em_class import TaskClass, split_tolerance
from theory_checks.em_steps import judge_run
from theory_checks.instances import Task

EDGE = TaskClass(1, 2, 1.5, 0.25)
SAMPLES = np.array([[-1.0], [1.25], [-0.5], [0.75], [0.125], [-1.25]])


@pytest.mark.parametrize(
    ("weight", "outcome", "said"),
    [
        (0.25, "undecided", "whether a weight fell to 0.25, below 0.25: undecided at 2048 bits"),
        (0.2, "not applicable", "a weight fell to 0.2, below 0.25"),
        (0.26, "holds", "error"),
    ],
)
def test_a_precondition_that_no_precision_decides_is_not_inapplicable(weight, outcome, said):
    em = em_enclosure.build(EDGE, split_tolerance(EDGE, 1.0, "paper"), 1)
    start = Mixture(np.array([weight, 1 - weight]), np.array([[-0.75], [0.75]]))
    judged = judge_run(em, Task("edge", SAMPLES, start))
    verdicts = [v for v in judged if not v.instance.endswith("weights")]  # equal in the first step, whatever A is
    assert {v.outcome for v in verdicts} == {outcome}
    assert any(said in v.instance for v in verdicts)
