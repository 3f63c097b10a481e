from dataclasses import replace
from math import log

import numpy as np
import torch

from constructions import em_transformer
from theory_checks.precision_settings import STEPS, Setting, Subject
from theory_checks.precision_steps import Errors, roundoff_of_sums, run_balls, run_floats

# Other instances than the map's: primes for all sizes; of 31 + 6 samples 36 are kept.
SIZES = {"components": 3, "dim": 5, "drawn": 31, "contested": 6}
SEEDS = (11,)


def subject(separation, construction, orientation):
    return Subject(Setting(separation, construction, orientation, True, **SIZES), SEEDS)


def test_more_bits_undo_cancellation():
    given = subject(5, "paper", "right")
    bits = int(given.sizes.log_a / log(2))
    em = given.in_balls(bits + 64)
    steps = list(run_balls(given, em, bits + 64, given.tasks[0]))
    assert len(steps) == STEPS
    assert {step.found.status(step.guess) for step in steps} == {"realisable"}
    few = next(run_balls(given, given.in_balls(bits - 8), bits - 8, given.tasks[0]))
    assert few.found.status(few.guess) == "failed"


def test_a_wrong_transformer_is_not_taken_for_rounding():
    given = subject(5, "floor", "left")
    network = given.sizes.networks("left")
    broken = em_transformer.build(
        given.task_class,
        given.sizes,
        STEPS,
        torch.float64,
        networks=lambda sizes: {**network, "log": replace(network["log"], a=0.1 * network["log"].a)},
    )
    first = next(run_floats(given, broken.transformer, given.tasks[0]))
    assert first.found.ratio > 1
    assert first.cause == "log network"


def test_sums_of_16_bits_are_made_in_float32():
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        assert roundoff_of_sums(dtype) == 2.0**-24
    assert roundoff_of_sums(torch.float64) == 2.0**-53


def test_statuses():
    def status(mean, log_weight, ratio):
        return Errors(mean, log_weight, ratio).status((0.3, 2.0))

    assert status(0.1, 0.1, 1.0) == "realisable"
    assert status(0.1, 0.1, 1.1) == "degraded"
    assert {status(0.3, 0.1, 1.1), status(0.1, 2.0, 1.1), status(np.inf, 0.1, np.inf)} == {"failed"}
