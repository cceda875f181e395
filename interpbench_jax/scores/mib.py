"""The AUC that MIB computes for the edges of a known circuit.

Source: Mueller et al. 2025 (arXiv:2504.13151), in hannamw/MIB-circuit-track (`evaluation.py`,
`print_results.py`) and hannamw/EAP-IG 795f560 (`Graph.apply_greedy`).
"""

import heapq
import math

import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.circuit import Circuit
from interpbench_jax.scores.levels import (
    Ranking,
    check_edge_scores,
    component_of,
    importance,
    only_edges,
    read_values,
)
from interpbench_jax.scores.rank import counted_in, truth_of
from interpbench_jax.scores.selection import on_paths
from interpbench_jax.sites import Kind, Node
from interpbench_jax.universes import Universe, UniverseName, universe

_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def mib_edge_auc(
    values: Ranking | Float[np.ndarray, " edges"],
    circuit: Circuit,
    name: UniverseName | None = None,
    *,
    absolute: bool = True,
) -> float:
    """Area under MIB's curve of true against false positive rates, from 0 to 1.

    The curve has ten points, for circuits of 0.1 % to all of the edges. Each circuit is grown
    backwards from the output, always by the most important edge into one of its nodes; edges on no
    path from an embedding are then removed. The curve does not start at the origin, and false
    positive rates are divided by the last one, as in MIB's code. It therefore differs from a
    ROC-AUC of the scores: an edge counts only once a path leads from it to the output.

    Args:
        values: a sweep's result or a method's scores; or one number for each edge.
        circuit: the known circuit.
        name: the universe of the numbers, by default MIB's own, `"qkv-merged"`; a result knows
            its own.
        absolute: whether importance is the absolute value instead of the value itself.

    Raises:
        ValueError: if there is not one value per edge, one is NaN, or the universe has no true
            or no false edge.
    """
    numbers, name, level = read_values(values, name, None, default="qkv-merged")
    only_edges(level)
    space = universe(name, circuit.n_layers, circuit.n_heads)
    check_edge_scores(numbers, name, circuit.n_layers, circuit.n_heads)
    truth, counts = truth_of(circuit, name, "edge"), counted_in(circuit, name, "edge")
    if truth[counts].all() or not truth.any():
        raise ValueError(f"Expected both true and false edges in {name!r}, got only one kind.")
    sizes = [math.ceil(share * len(numbers)) for share in _SHARES]
    kept = on_paths(grow_from_output(importance(numbers, absolute), sizes, space), space)
    true_positive = kept[:, truth].mean(axis=1)
    false_positive = kept[:, counts & ~truth].mean(axis=1)
    if false_positive[-1] == 0:
        return 0.0
    return float(np.trapezoid(true_positive, false_positive / false_positive[-1]))


def grow_from_output(
    importances: Float[np.ndarray, " edges"], sizes: list[int], space: Universe
) -> Bool[np.ndarray, "sizes edges"]:
    """Whether circuits of the given sizes, grown backwards from the output, have each edge.

    Every step adds the most important edge that enters a node of the circuit. Ties go to the edge
    whose node was reached first, then to the first edge in the universe's order.
    """
    entering: dict[Node, list[int]] = {}
    for index, edge in enumerate(space.edges):
        entering.setdefault(component_of(edge.dst), []).append(index)
    order: list[int] = []
    reached: set[Node] = set()
    waiting: list[tuple[float, int, int]] = []

    def reach(node: Node) -> None:
        if node not in reached:
            reached.add(node)
            for index in entering.get(node, ()):
                heapq.heappush(waiting, (-float(importances[index]), len(reached), index))

    reach(Node(Kind.RESID_POST, space.n_layers - 1))
    while waiting:
        _, _, index = heapq.heappop(waiting)
        order.append(index)
        reach(space.edges[index].src)
    place = np.full(len(space.edges), len(space.edges))
    place[order] = np.arange(len(order))
    return place[None] < np.asarray(sizes)[:, None]
