"""The paper's numbered statements that are not checked, each with the reason."""

from __future__ import annotations

from theory_checks.ledger import no_claim, not_recovered

NOTHING = (
    ("equation-1", "section 2.1", "Equation (1)", "Defines the model; Algorithm B.1's row uses its densities."),
    ("equation-2", "section 2.3", "Equation (2)", "Defines a training loss; nothing is claimed of its minimum."),
    ("algorithm-1", "section 2.3", "Algorithm 1", "A procedure that draws training tasks; no property is claimed."),
    ("algorithm-2", "section 2.3", "Algorithm 2", "A training procedure; no property of what it ends at is claimed."),
    (
        "remark-1",
        "section 3.2",
        "Remark 1",
        "Interprets the paper's experiments, whose networks are not to be had; row tgmm-below-em is of one of ours.",
    ),
    (
        "assumption-a1",
        "sections F.1, F.3",
        "Assumption (A1)",
        "A premise, with a constant that is not given; the rows of Theorems F.2 to F.7 draw instances that meet it.",
    ),
    (
        "remark-f1",
        "section F.1",
        "Remark F.1",
        "Its text is missing in our copy of the paper; what it may claim is not guessed.",
    ),
    (
        "remark-f2",
        "section F.1",
        "Remark F.2",
        "Names the radius a after the first step and the rate β; what it quotes of them are Theorems F.2 and F.3.",
    ),
)

for id, source, paper, why in NOTHING:
    no_claim(id, source, paper, why)

not_recovered(
    "lemma-f5-paper",
    "section F.3",
    "Lemma F.5",
    "Not recovered: a ReLU network for the square with bounded weights; its width, its bounds and the interval on "
    "which it is non-decreasing are lost in our copy. Row lemma-f5 is a statement of ours.",
    "lemma_f5",
)
not_recovered(
    "remark-f6-paper",
    "section F.3",
    "Remark F.6",
    "Not recovered: what is improved compared with Mei 2024, and what is easy to check of the network for which x, are "
    "lost in our copy. Row remark-f6 is a statement of ours.",
    "remark_f6",
)
