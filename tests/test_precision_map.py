import re
from dataclasses import replace
from functools import cache
from math import log

import numpy as np
import pytest
import torch

from theory_checks.precision_map import Cell, cell, table
from theory_checks.precision_map_command import main
from theory_checks.precision_settings import FORMATS, STATUSES, Setting, Subject, log_network
from theory_checks.precision_steps import Errors, Step

# A part of the map on other instances: primes for all sizes; of 31 + 6 samples 36 are kept.
SIZES = {"components": 3, "dim": 5, "drawn": 31, "contested": 6}
SEEDS = (11,)


@cache
def subject(separation, construction, orientation):
    return Subject(Setting(separation, construction, orientation, True, **SIZES), SEEDS)


@cache
def measured(name, *setting):
    return cell(subject(*setting), name)


@pytest.mark.parametrize(("name", "separation"), [("float32", 2), ("float64", 5), ("53 bits", 5)])
def test_the_orientation_decides_the_papers_fate(name, separation):
    left, right = (measured(name, separation, "paper", facing) for facing in ("left", "right"))
    assert (left.measured, left.predicted) == ("realisable", "realisable")
    assert (right.measured, right.predicted) == ("failed", "failed")
    if name.startswith("float"):
        assert right.cause == "cancellation"


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_the_floor_does_not_mind_the_orientation(name):
    assert {measured(name, 5, "floor", facing).measured for facing in ("left", "right")} == {"realisable"}


@pytest.mark.parametrize(("name", "separation"), [("float16", 2), ("bfloat16", 11), ("float32", 11)])
def test_rounded_weights_of_a_refused_transformer_give_no_number(name, separation):
    found = measured(name, separation, "paper", "left")
    assert found.measured == found.predicted == "overflow"
    assert found.error == np.inf


@pytest.mark.parametrize(("name", "log_a"), [("float16", 10.4), ("float32", 88.0), ("float64", 709.0)])
def test_between_1_over_tiny_and_max_a_refused_transformer_would_run(name, log_a):
    assert -log(torch.finfo(FORMATS[name]).tiny) < log_a < log(torch.finfo(FORMATS[name]).max)
    given = Subject(Setting(5, "floor", "left", True, **SIZES), SEEDS)
    given.sizes = replace(given.sizes, log_a=log_a, segments=int(2 * log_a))
    found = cell(given, name)
    assert found.spoilt[:2] == (0, 0)
    assert (found.measured, found.predicted) == ("realisable", "overflow")


def test_rounding_is_seen_in_order_of_the_formats():
    found = [measured(name, 5, "floor", "left").error for name in ("bfloat16", "float16", "float32", "float64")]
    assert found == sorted(found, reverse=True)
    for error, name in zip(found, FORMATS, strict=False):
        assert error < 20 * torch.finfo(FORMATS[name]).eps


def test_no_float_cell_is_worse_than_predicted():
    cells = [
        measured(name, separation, construction, facing)
        for name, separation in (("bfloat16", 2), ("float64", 5))
        for construction in ("paper", "floor")
        for facing in ("left", "right")
    ]
    for one in cells:
        assert STATUSES.index(one.measured) <= STATUSES.index(one.predicted)
        if one.measured in ("realisable", "degraded"):
            assert one.ratios[0] <= one.ratios[1]


@pytest.mark.parametrize("facing", ["left", "right"])
def test_a_responsibility_of_0_gets_the_networks_value_at_0(facing):
    found = measured("float16", 11, "floor", facing)
    assert sum(step.lost for step in found.steps) > 0
    value = float(log_network(subject(11, "floor", facing), np.zeros(1))[0])
    sizes = found.log_a
    assert value == pytest.approx(-sizes if facing == "right" else -sizes - 0.62, abs=0.15)
    assert max(step.off for step in found.steps) < 4 * torch.finfo(torch.float16).eps * abs(value)
    assert found.measured == "realisable"


def test_the_table_marks_what_is_not_predicted():
    fine, poor = (Errors(0.01, 0.0, ratio) for ratio in (0.5, 3.0))
    step = Step(fine, fine, poor, (0.3, 2.0), "sums")
    cells = [Cell(Setting(2, "floor", "left", True), name, 5.0, (step,)) for name in FORMATS]
    text = table(cells)
    assert len(re.findall(r"1\.0e-02\*", text)) == len(FORMATS)
    assert "float16: realisable, 0.5, most of it sums; predicted degraded, 3" in text


def test_command_line(capsys):
    assert main(["--seed", "-1"]) == 2
    assert "--seed" in capsys.readouterr().err
