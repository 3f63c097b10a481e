"""Verdicts from symbols: an expression is 0 for all positive values of its symbols."""

from __future__ import annotations

import sympy

from theory_checks.ledger import Verdict


def identity(difference: sympy.Expr, instance: str) -> Verdict:
    """It holds for all values of its symbols if it simplifies to 0; a real value apart from 0 at one point refutes it.

    Else it is undecided. The arguments of its logarithms are taken to be positive.
    """
    rest = sympy.simplify(sympy.expand_log(difference, force=True))
    if rest == 0:
        return Verdict("holds", instance, coverage="all")
    point = {symbol: sympy.Rational(n + 2, 3) for n, symbol in enumerate(sorted(rest.free_symbols, key=str))}
    value = rest.subs(point).evalf(30)
    return Verdict("refuted" if value.is_real and abs(value) > 1e-20 else "undecided", instance)
