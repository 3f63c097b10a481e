"""The paper's numbered statements in its order, and the rows of the ledger that check them.

Which rows a statement has is said by the rows (`paper=` of ledger.statement); here are only the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from theory_checks.ledger import REGISTRY, Statement


@dataclass(frozen=True)
class Numbered:
    """A statement of the paper: the name that rows give it, and in our words what it says."""

    name: str
    says: str


PAPER = (
    Numbered("Comparison, layers", "L EM steps take O(L) layers; prior work needs O(KL)"),
    Numbered("Comparison, heads", "the number of heads is O(1), whatever d and K"),
    Numbered("Comparison, dimension", "the bounds are polynomial in d; those of prior work are exponential"),
    Numbered("Equation (1)", "the isotropic Gaussian mixture with unit variance"),
    Numbered("Definition 1", "attention layer, short form of Definition 4"),
    Numbered("Definition 2", "MLP layer, short form of Definition 5"),
    Numbered("Definition 3", "transformer, short form of Definition 6"),
    Numbered("Equation (2)", "the loss that TGMM is trained with"),
    Numbered("Algorithm 1", "how training tasks are sampled"),
    Numbered("Algorithm 2", "how TGMM is trained"),
    Numbered("Remark 1", "whether TGMM's comparison with EM and spectral methods is fair"),
    Numbered("Theorem 1", "Theorem F.1, informally"),
    Numbered("Equation (3)", "the step of the power iteration, v ← T(I, v, v)"),
    Numbered("Theorem 2", "Theorem G.8, informally"),
    Numbered("Remark 2", "one Θ serves several d and K, and holds uniformly over sample sizes and distributions"),
    Numbered("Remark 3", "every task needs a read-out of its own; Remark F.3 gives it"),
    Numbered("Algorithm B.1", "expectation-maximisation"),
    Numbered("Algorithm B.2", "the spectral algorithm"),
    Numbered("Definition 4", "softmax attention with M heads"),
    Numbered("Definition 5", "MLP with relu, token by token"),
    Numbered("Definition 6", "L times attention, then MLP"),
    Numbered("Appendix D", "TGMM's parameters outside its backbone, and what a shared backbone saves"),
    Numbered("Assumption (A1)", "separation of the components, and how near the initial parameters are"),
    Numbered("Theorem F.1", "a 2(L+1)-layer transformer estimates any mixture of a class, with one Θ"),
    Numbered("Remark F.1", "lost in our copy"),
    Numbered("Remark F.2", "what a and β of Theorem F.1 stand for"),
    Numbered("Remark F.3", "the read-out: a linear attentive pooling"),
    Numbered("Theorem F.2", "one step of population EM from (A1) comes close to the truth"),
    Numbered("Theorem F.3", "from there population EM contracts"),
    Numbered("Remark F.4", "the contraction factor is as small as one likes if the separation is large enough"),
    Numbered("Theorem F.4", "the same contraction for EM on n samples, uniformly"),
    Numbered("Lemma F.1", "uniform concentration of averages of functions with parameters in K balls"),
    Numbered("Remark F.5", "that Lemmas F.2 and F.3 follow from Lemma F.1"),
    Numbered("Lemma F.2", "uniform concentration of the mean responsibilities"),
    Numbered("Lemma F.3", "uniform concentration of the responsibility-weighted deviations from a true mean"),
    Numbered("Theorem F.5", "the first step of EM on n samples"),
    Numbered("Lemma F.4", "a ReLU network for the logarithm"),
    Numbered("Remark F.6", "its coefficients, and the network outside its interval"),
    Numbered("Lemma F.5", "a ReLU network for the square"),
    Numbered("Lemma F.6", "how far a standard Gaussian vector reaches"),
    Numbered("Lemma F.7", "log softmax is Lipschitz with constant 2 in the maximum norm"),
    Numbered("Corollary F.1", "what Lemma F.7 says of softmax itself"),
    Numbered("Theorem F.6", "2 layers make the first EM step, up to ε"),
    Numbered("Theorem F.7", "2 layers make any later EM step, up to ε, uniformly"),
    Numbered("Definition 7", "ReLU attention, averaged over the keys"),
    Numbered("Definition 8", "transformer with ReLU attention"),
    Numbered("Theorem G.8", "2L layers of ReLU attention make L power iterations, exactly"),
    Numbered("Remark G.1", "the same without MLPs"),
    Numbered("Remark G.2", "why no iteration normalises its vector"),
    Numbered("Remark G.3", "that ReLU is there for convenience, and softmax would do"),
)
NAMES = tuple(numbered.name for numbered in PAPER)


def rows(name: str, registry: Mapping[str, Statement] = REGISTRY) -> list[Statement]:
    """The rows that check a statement of the paper, or a part of it, or say why there is nothing to check.

    Raises
    ------
    ValueError
        If the paper has no statement of that name.
    """
    if name not in NAMES:
        raise ValueError(f"{name!r} is none of the paper's statements: {', '.join(NAMES)}")
    return [statement for statement in registry.values() if name in statement.paper]


def without_row(registry: Mapping[str, Statement] = REGISTRY) -> list[str]:
    """The statements of the paper that no row names, in the paper's order."""
    return [name for name in NAMES if not rows(name, registry)]


def unknown(registry: Mapping[str, Statement] = REGISTRY) -> list[str]:
    """What rows call statements of the paper and is none: "ID: NAME"."""
    return [f"{id}: {name}" for id, statement in registry.items() for name in statement.paper if name not in NAMES]
