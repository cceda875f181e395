"""A sweep beside the truth, as rows."""

from typing import TYPE_CHECKING

from interpbench_jax.circuit import Circuit, universe
from interpbench_jax.report.tables import EffectRow
from interpbench_jax.scores import edge_auc_by_universe, node_auc
from interpbench_jax.sites import Edge, Node

if TYPE_CHECKING:
    from interpbench_jax.sweeps import SweepResult


def effect_rows(
    result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> list[EffectRow]:
    """One row an edit, in the sweep's order; the circuit may not be known."""
    truth: frozenset[Edge | Node] | None = None
    if circuit is not None and isinstance(result.names[0], Edge):
        truth = frozenset(circuit.in_universe(result.universe))
    elif circuit is not None:
        truth = frozenset(circuit.nodes_in(result.universe))
    return [
        EffectRow(_ends(name), float(effect), None if truth is None else name in truth)
        for name, effect in zip(result.names, result.effects, strict=True)
    ]


def areas_by_universe(
    result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> dict[str, tuple[float | None, int, int]]:
    """ROC-AUC by universe, with how many items the circuit has there and of how many.

    Edges are scored in their own universe and the coarser ones, nodes in their own; empty where
    the circuit is not known.
    """
    if circuit is None:
        return {}
    shape = (circuit.n_layers, circuit.n_heads)
    if isinstance(result.names[0], Edge):
        areas = edge_auc_by_universe(result.effects, circuit, result.universe)
        return {
            name: (area, len(circuit.in_universe(name)), len(universe(name, *shape).edges))
            for name, area in areas.items()
        }
    nodes = universe(result.universe, *shape).sources
    inside = len(circuit.nodes_in(result.universe) & set(nodes))
    defined = 0 < inside < len(nodes)
    area = node_auc(nodes, result.effects, circuit, result.universe) if defined else None
    return {result.universe: (area, inside, len(nodes))}


def sweep_as_json(
    result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> dict[str, object]:
    """A sweep and its scores as plain JSON values."""
    rows = effect_rows(result, circuit)
    return {
        "universe": result.universe,
        "ablation": result.ablation,
        "metric": result.metric,
        "n_inputs": result.n_inputs,
        "effects": [
            {"name": str(name), "effect": row.effect, "in_circuit": row.in_circuit}
            for name, row in zip(result.names, rows, strict=True)
        ],
        "auc": {name: area for name, (area, _, _) in areas_by_universe(result, circuit).items()},
    }


def _ends(name: Edge | Node) -> tuple[str, ...]:
    return (str(name.src), str(name.dst)) if isinstance(name, Edge) else (str(name),)
