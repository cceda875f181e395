"""Paper mode: areas computed as InterpBench's own evaluation computes them.

Sources: Gupta et al. 2024 (arXiv:2407.14494). Circuits are built and compared in
FlyingPumba/InterpBench 220791e (`utils/auto_circuit_utils.py`,
`utils/circuit/prepare_circuit.py`, `utils/circuit/circuit_eval.py`); areas in its branch
`new_experiments`, a93a3b4 (`interp_utils/circuit_discovery/pessimistic_roc.py`), after ACDC's
(Conmy et al. 2023, arXiv:2304.14997).

Unlike rank mode, it depends on how large scores are: if all of them lie strictly between 0 and the
smallest positive threshold, the area is 0, however well they are ranked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from interpbench_jax.circuit import Circuit, TruthValue
from interpbench_jax.names import Level
from interpbench_jax.scores.levels import (
    Ranking,
    as_truth,
    check_edge_scores,
    importance,
    only_edges,
    read_values,
)
from interpbench_jax.universes import UniverseName
from interpbench_jax.universes import universe as find_universe

PAPER_THRESHOLDS: tuple[float, ...] = (
    *(0.0, 1e-5, 1e-4, 1e-3, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 0.8),
    *(1.0, 10.0, 20.0, 50.0, 70.0, 100.0, 200.0, 1000.0),
)

# The universe where upstream compares circuits; nodes are all ends of edges, also the output.
PAPER_UNIVERSE: UniverseName = "head"


@dataclass(frozen=True, eq=False)
class Curve:
    """True and false positive rates of the circuits that thresholds give, in the head universe.

    A true positive rate is the share of the known circuit that was kept, a false positive rate the
    share of everything outside it that was kept; NaN if there is nothing to take a share of.

    Attributes:
        thresholds: the threshold of each circuit.
        node_tpr: true positive rates of the nodes at the ends of kept edges.
        node_fpr: false positive rates of these nodes.
        edge_tpr: true positive rates of the kept edges.
        edge_fpr: false positive rates of the kept edges.
    """

    thresholds: tuple[float, ...]
    node_tpr: Float[np.ndarray, " thresholds"]
    node_fpr: Float[np.ndarray, " thresholds"]
    edge_tpr: Float[np.ndarray, " thresholds"]
    edge_fpr: Float[np.ndarray, " thresholds"]


def paper_curve(
    values: Ranking | Float[np.ndarray, " edges"],
    circuit: Circuit,
    universe: UniverseName | None = None,
    *,
    thresholds: Sequence[float] = PAPER_THRESHOLDS,
    absolute: bool = True,
) -> Curve:
    """Rates of the circuits of edges whose importance is above each threshold.

    An edge is kept if its importance is strictly larger; an edge of the head universe, if any
    edge that it merges is. Thresholds are rounded to the values' dtype, as in torch.

    Args:
        values: a sweep's result or a method's scores; or one number for each edge of a universe,
            in its order.
        circuit: the known circuit.
        universe: the universe of the numbers, by default `"qkv-merged"`, which upstream's methods
            score; a result knows its own.
        thresholds: the thresholds, in the values' unit.
        absolute: whether importance is the absolute value instead of the value itself; an option
            in upstream, which the paper's table enables for ACDC and EAP.

    Raises:
        ValueError: if there is not one value per edge, one is NaN, or the universe is coarser
            than `"head"`.
    """
    numbers, universe, level = read_values(values, universe, None, default="qkv-merged")
    only_edges(level)
    check_edge_scores(numbers, universe, circuit.n_layers, circuit.n_heads)
    limits = np.asarray(thresholds, numbers.dtype)
    kept = importance(numbers, absolute) > limits[:, None]
    return kept_curve(kept, circuit, universe, thresholds=thresholds)


def kept_curve(
    kept: Bool[np.ndarray, "thresholds edges"] | Int[np.ndarray, "thresholds edges"],
    circuit: Circuit,
    universe: UniverseName = "qkv-merged",
    *,
    thresholds: Sequence[float] = PAPER_THRESHOLDS,
) -> Curve:
    """Rates of given circuits, for a method that finds one circuit per threshold, as ACDC does.

    Args:
        kept: whether each circuit has each edge of `universe`.
        circuit: the known circuit.
        universe: the universe of the edges; `"qkv-merged"` in upstream's runs.
        thresholds: the threshold with which each circuit was found.

    Raises:
        ValueError: if `kept` does not fit the thresholds and edges, or the universe is coarser
            than `"head"`.
    """
    shape = (circuit.n_layers, circuit.n_heads)
    source, target = find_universe(universe, *shape), find_universe(PAPER_UNIVERSE, *shape)
    kept = as_truth(kept)
    if kept.shape != (len(thresholds), len(source.edges)):
        raise ValueError(
            f"Expected {len(thresholds)} circuits, one per threshold, of the {len(source.edges)} "
            f"edges of {universe!r}; got shape {kept.shape}."
        )
    groups = target.groups_of(source)
    edges = np.stack([kept[:, list(group)].any(axis=1) for group in groups], axis=1)
    is_end = np.asarray(
        [[node in (edge.src, edge.dst) for node in target.nodes] for edge in target.edges]
    )
    nodes = (edges.astype(int) @ is_end.astype(int)) > 0
    # Here the output, which every circuit has, is scored as a node too.
    node_truths = circuit.node_truths(PAPER_UNIVERSE)
    edge_tpr, edge_fpr = _rates(edges, list(circuit.edge_truths(PAPER_UNIVERSE).values()))
    node_tpr, node_fpr = _rates(nodes, [node_truths.get(node, "in") for node in target.nodes])
    return Curve(tuple(thresholds), node_tpr, node_fpr, edge_tpr, edge_fpr)


def staircase_auc(fpr: Float[np.ndarray, " points"], tpr: Float[np.ndarray, " points"]) -> float:
    """Area under the staircase through some points of a ROC curve, in 0..1.

    The area is pessimistic: between two points the curve is as low as at the left one, and left
    of all points it is 0. Points may come in any order; a point that lies lower than another to
    its left is ignored.

    Args:
        fpr: false positive rates.
        tpr: true positive rates.

    Raises:
        ValueError: if the numbers of rates differ, or a rate is not in 0..1.
    """
    rates = np.concatenate([fpr, tpr])
    if fpr.shape != tpr.shape or not ((rates >= 0) & (rates <= 1)).all():
        raise ValueError(
            "Expected as many true positive rates as false positive rates, all from 0 to 1; got "
            f"{fpr} and {tpr}."
        )
    order = np.lexsort((tpr, fpr))
    heights = np.maximum.accumulate(tpr[order])
    return float(((1 - fpr[order]) * np.diff(heights, prepend=0)).sum())


def paper_auc(curve: Curve, level: Level = "edge") -> float | None:
    """The area that InterpBench reports for a curve, in 0..1.

    None if a rate is not defined because the circuit has all of the edges (or nodes) or none;
    upstream counts such rates as 0.

    Args:
        curve: the rates.
        level: `"edge"`, which the paper's tables report, or `"node"`.
    """
    by_level = {
        "edge": (curve.edge_fpr, curve.edge_tpr),
        "node": (curve.node_fpr, curve.node_tpr),
    }
    fpr, tpr = by_level[level]
    return None if np.isnan([fpr, tpr]).any() else staircase_auc(fpr, tpr)


def _rates(
    kept: Bool[np.ndarray, "thresholds items"], truths: Sequence[TruthValue]
) -> tuple[np.ndarray, np.ndarray]:
    """True and false positive rates; constant items count in neither."""
    values = np.asarray(truths)
    return _shares(kept[:, values == "in"]), _shares(kept[:, values == "out"])


def _shares(kept: Bool[np.ndarray, "thresholds items"]) -> np.ndarray:
    if kept.shape[1] == 0:
        return np.full(len(kept), np.nan)
    return kept.sum(axis=1) / kept.shape[1]
