"""Sizes as a person reads them."""

import pytest

from constructions.units import in_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (10**6, "977 KiB"),
        (2**20, "1 MiB"),
        (1023 * 2**20, "0.999 GiB"),
        (2**31, "2 GiB"),
        (1.5 * 2**40, "1.5 TiB"),
        (2**80, "more than 999 EiB"),
    ],
)
def test_in_bytes(count, text):
    assert in_bytes(count) == text
