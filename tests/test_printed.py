"""Printed lines are compared with their numbers."""

import pytest

from theory_checks.printed import agree


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("error 0.62, 3 of 7", "error 0.63,  3 of 7"),
        ("9.887e-04", "9.886e-04"),
        ("9.999e-05", "1.000e-04"),
        ("slack 1", "slack 0.99"),
        ("-1.5e+03", "-1.4e+03"),
        ("(-0.238, 4)", "(-0.237, 4)"),
    ],
)
def test_the_last_digit_may_differ_by_one(shown: str, printed: str) -> None:
    assert shown != printed
    assert agree(shown, printed)
    assert agree(printed, shown)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("error 0.62", "error 0.64"),
        ("3 of 7", "3 of 8"),
        ("9.887e-04", "9.885e-04"),
        ("9.887e-04", "9.887e-05"),
        ("1.5", "-1.5"),
        ("2.8 MiB", "3.0 MiB"),
        ("2.8 MiB", "2.8 MB"),
        ("1 2", "1"),
        ("mu 0.5", "pi 0.5"),
        ("4.4e-16", "9.9e-16"),
    ],
)
def test_more_differs(shown: str, printed: str) -> None:
    assert agree(shown, shown)
    assert not agree(shown, printed)
    assert not agree(printed, shown)
