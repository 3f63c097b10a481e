"""What a terminal lacks is spelt out."""

import pytest

from constructions.plain_text import NAME


@pytest.mark.parametrize(
    ("text", "ascii_", "latin"),
    [
        ("π₁ ≤ ½·x² × 10⁻³", "pi_1 <= 1/2*x^2 x 10^-^3", "pi_1 <= ½·x² × 10^-³"),
        ("ŵ ≠ w, μ̂, μ̄, Σ → ‖v‖", "w^ != w, mu^, mu-, Sigma -> ||v||", "w^ != w, mu^, mu-, Sigma -> ||v||"),
        ("ñ, n\u0303, ê, e\u0302.csv", "n, n, e, e.csv", "ñ, n, ê, e.csv"),
        ("w\u0302, R\u0304", "w^, R-", "w^, R-"),
        ("naïve …, \udcff 日", "naive ..., ? ?", "naïve ..., ? ?"),
    ],
)
def test_text(text, ascii_, latin):
    assert text.encode("ascii", NAME) == ascii_.encode()
    assert text.encode("latin-1", NAME) == latin.encode("latin-1")


def test_only_what_is_written_is_spelt_out():
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", NAME)
