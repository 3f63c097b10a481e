"""Indices and exponents of a statement's text."""

import pytest

from theory_checks.ledger import REGISTRY
from theory_checks.report.scripts import scripts
from theory_checks.running import load_statements


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("μ_k⁺ and ŵ_ik", "μ<sub>k</sub>⁺ and ŵ<sub>ik</sub>"),
        ("aπ_min x_1x_2", "aπ<sub>min</sub> x<sub>1</sub>x<sub>2</sub>"),
        ("‖u − v‖_∞ (a)_j", "‖u − v‖<sub>∞</sub> (a)<sub>j</sub>"),
        ("sup_θ log_δ r_{t+1}", "sup<sub>θ</sub> log<sub>δ</sub> r<sub>t+1</sub>"),
        ("e^{−dt²/2} A^½ e^U n^2", "e<sup>−dt²/2</sup> A<sup>½</sup> e<sup>U</sup> n<sup>2</sup>"),
        ("log_w and log_pi, em_step", "log_w and log_pi, em_step"),
        ("a < b_k & c", "a &lt; b<sub>k</sub> &amp; c"),
    ],
)
def test_indices_and_exponents(text, html):
    assert str(scripts(text)) == html


def test_no_statement_keeps_an_exponent_unset():
    load_statements()
    assert [id for id, made in REGISTRY.items() if "^" in scripts(made.statement)] == []
