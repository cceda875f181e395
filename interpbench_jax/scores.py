"""Scores of edges and nodes against a known circuit."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.circuit import UNIVERSES, Circuit, UniverseName, universe
from interpbench_jax.sites import Edge, Node


def roc_auc(scores: Float[np.ndarray, " items"], truth: Bool[np.ndarray, " items"]) -> float:
    """Area under the ROC curve: how often an item of the circuit outscores another, in 0..1.

    A tie counts half. Source: Hanley and McNeil 1982 (the Mann-Whitney statistic); equals
    scikit-learn's `roc_auc_score`.

    Raises:
        ValueError: if a score is nan, the lengths differ, or all items are on one side.
    """
    if scores.shape != truth.shape or scores.ndim != 1:
        raise ValueError(
            f"Expected one score and one truth per item, got {scores.shape} and {truth.shape}."
        )
    if np.isnan(scores).any():
        raise ValueError(
            f"Expected numbers as scores, got nan at {int(np.isnan(scores).sum())} items; "
            "look for overflow in the logits, or score in float64."
        )
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        raise ValueError(
            f"Expected items both in the circuit and outside it, got {positives} and {negatives}; "
            "the area is not defined."
        )
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = last - (counts - 1) / 2
    above = ranks[inverse][truth].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def promote_scores(
    scores: Float[np.ndarray, " edges"],
    finer: UniverseName,
    coarser: UniverseName,
    n_layers: int,
    n_heads: int,
) -> Float[np.ndarray, " coarser_edges"]:
    """Scores of a coarser universe's edges: the largest of what each gathers.

    Raises:
        ValueError: if there is not one score per edge of `finer`, or `coarser` is not coarser.
    """
    source = universe(finer, n_layers, n_heads)
    if scores.shape != (len(source.edges),):
        raise ValueError(
            f"Expected one score for each of the {len(source.edges)} edges of {finer!r}, got "
            f"shape {scores.shape}."
        )
    groups = universe(coarser, n_layers, n_heads).groups_of(source)
    return np.asarray([scores[list(group)].max() for group in groups])


def edge_auc(
    edges: Sequence[Edge], scores: np.ndarray, circuit: Circuit, name: UniverseName
) -> float:
    """ROC-AUC of edge scores against a circuit, in the universe that the edges are of.

    Args:
        edges: the edges of the universe `name`, each once, in any order.
        scores: `[edges]`, larger for what matters more.
        circuit: the truth.
        name: the universe.

    Raises:
        ValueError: if the edges are not the universe's, or the area is not defined.
    """
    _check_items(edges, universe(name, circuit.n_layers, circuit.n_heads).edges, "edges", name)
    truth = circuit.in_universe(name)
    return roc_auc(np.asarray(scores), np.asarray([edge in truth for edge in edges]))


def node_auc(
    nodes: Sequence[Node], scores: np.ndarray, circuit: Circuit, name: UniverseName
) -> float:
    """ROC-AUC of node scores against the nodes of a circuit, as `edge_auc`.

    The nodes are the sources of the universe; the output, which every circuit has, is not scored.
    """
    _check_items(nodes, universe(name, circuit.n_layers, circuit.n_heads).sources, "nodes", name)
    truth = circuit.nodes_in(name)
    return roc_auc(np.asarray(scores), np.asarray([node in truth for node in nodes]))


def edge_auc_by_universe(
    scores: np.ndarray, circuit: Circuit, name: UniverseName = "qkv"
) -> Mapping[UniverseName, float | None]:
    """ROC-AUC in the universe that the scores are of and in every coarser one.

    Args:
        scores: one for each edge of the universe `name`, in its order.
        circuit: the truth.
        name: the universe that was scored.

    Returns:
        The area by universe, from fine to coarse; None where it is not defined, because the
        circuit holds all of the universe's edges or none.
    """
    shape = (circuit.n_layers, circuit.n_heads)
    areas: dict[UniverseName, float | None] = {}
    for coarser in UNIVERSES[UNIVERSES.index(name) :]:
        promoted = promote_scores(np.asarray(scores), name, coarser, *shape)
        edges = universe(coarser, *shape).edges
        defined = 0 < len(circuit.in_universe(coarser)) < len(edges)
        areas[coarser] = edge_auc(edges, promoted, circuit, coarser) if defined else None
    return areas


def _check_items(
    given: Sequence[Edge] | Sequence[Node],
    expected: Sequence[Edge] | Sequence[Node],
    what: str,
    name: UniverseName,
) -> None:
    if len(given) != len(expected) or set(given) != set(expected):
        raise ValueError(
            f"Expected each of the {len(expected)} {what} of universe {name!r} once, got "
            f"{len(given)} others."
        )
