"""How a run was executed: as text, and the rows of the ledger that it rests on."""

from __future__ import annotations

from constructions.execution_plan import Plan


def execution(plan: Plan | None, shown: bool, seconds: float) -> str:
    """How long a run took and how it was executed (without a plan: literally); the plan itself if it is `shown`."""
    if plan is None:
        return f"run           {seconds:.2f} s, dense execution"
    lines = [f"run           {seconds:.2f} s, {plan.summary}"]
    return "\n".join(lines + (["", "how the layers are executed", str(plan)] if shown else []))


def execution_rows(plan: Plan | None) -> list[str]:
    """The rows of the ledger that a planned run rests on besides its own; none for a literal one."""
    return [] if plan is None else ["execution-rounding"]
