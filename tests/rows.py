"""Rows of the ledger made for the tests."""

from dataclasses import replace

from theory_checks.ledger import OUTCOMES, Row

HELD = Row(
    id="held",
    statement="π̂_k ≥ 0.",
    source="Lemma | 1",
    paper=["Lemma F.4", "Remark 2"],
    note="lemma_f4",
    figure="lemma_f4",
    text="ours",
    evidence="certified",
    coverage="interval",
    status="holds",
    counts={"holds": 11, "refuted": 0, "not applicable": 2, "vacuous": 3, "undecided": 0},
    slacks=[0.5, 0.95, 0.995],
    least_slack=0.5,
    tightest="n=7: error 1, bound 2",
    bounded=3,
    tight=1,
    bits=128,
    kept_slack=0.625,
    counterexample=None,
    depends_on=[],
    negative_controls=[{"broken": "1 % below", "rejected": True}, {"broken": "twice", "rejected": True}],
    repairs=[],
    reason="",
    seconds=1.5,
)
SAMPLED = replace(
    HELD, id="sampled", evidence="sampled", coverage="instances", depends_on=["held"], bits=None, kept_slack=None
)
REFUTED = replace(
    HELD,
    id="refuted",
    status="refuted",
    counts={**HELD.counts, "refuted": 1},
    slacks=[-4.0],
    least_slack=-4.0,
    counterexample="n=5: error 5, bound 1",
    repairs=[{"mended": "the new weight", "accepted": True}],
)
FAILED = replace(
    HELD,
    id="failed",
    status="failed",
    reason="control not met: twice",
    negative_controls=[{"broken": "1 % below", "rejected": True}, {"broken": "twice", "rejected": False}],
)
SILENT = replace(
    HELD,
    id="silent",
    evidence="none",
    coverage=None,
    status="no claim",
    counts=dict.fromkeys(OUTCOMES, 0),
    slacks=[],
    least_slack=None,
    kept_slack=None,
    bits=None,
    tight=0,
    bounded=0,
    negative_controls=[],
    reason="A figure of speech.",
    note="",
    figure="",
)
ROWS = [FAILED, HELD, REFUTED, SAMPLED, SILENT]
