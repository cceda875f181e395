"""A sweep beside the truth, as rows."""

from typing import TYPE_CHECKING

from interpbench_jax.circuit import Circuit, UniverseName, universe
from interpbench_jax.report.tables import EffectRow, SweepRow
from interpbench_jax.scores import edge_auc_by_universe, node_auc
from interpbench_jax.sites import Edge, Node

if TYPE_CHECKING:
    from interpbench_jax.sweeps import SweepResult


def effect_rows(
    result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> list[EffectRow]:
    """One row an edit, for each position alone if so swept, in the sweep's order.

    The circuit may not be known. The sweep is of one ablation.
    """
    space = _universe_of(result)
    truth: frozenset[Edge | Node] | None = None
    if circuit is not None and isinstance(result.names[0], Edge):
        truth = frozenset(circuit.in_universe(space))
    elif circuit is not None:
        truth = frozenset(circuit.nodes_in(space))
    positions = (None,) if result.positions is None else result.positions
    effects = result.effects.reshape(len(result.names), len(positions))
    return [
        EffectRow(_ends(name), float(effect), None if truth is None else name in truth, position)
        for name, own in zip(result.names, effects, strict=True)
        for position, effect in zip(positions, own, strict=True)
    ]


def areas_by_universe(
    result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> dict[str, tuple[float | None, int, int]]:
    """ROC-AUC by universe, with how many items the circuit has there and of how many.

    Edges are scored in their own universe and the coarser ones, nodes in their own; empty where
    the circuit is not known. Effects count by their size, as an edge matters that makes outputs
    better when it is cut; where positions were patched alone, the largest does.
    """
    if circuit is None:
        return {}
    shape, space = (circuit.n_layers, circuit.n_heads), _universe_of(result)
    sizes = abs(result.effects)
    effects = sizes if result.positions is None else sizes.max(axis=-1)
    if isinstance(result.names[0], Edge):
        areas = edge_auc_by_universe(effects, circuit, space)
        return {
            name: (area, len(circuit.in_universe(name)), len(universe(name, *shape).edges))
            for name, area in areas.items()
        }
    nodes = universe(space, *shape).sources
    inside = len(circuit.nodes_in(space) & set(nodes))
    defined = 0 < inside < len(nodes)
    area = node_auc(nodes, effects, circuit, space) if defined else None
    return {space: (area, inside, len(nodes))}


def sweep_as_json(
    result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> dict[str, object]:
    """A sweep and its scores as plain JSON values; effects tell their position if they have one."""
    names = [name for name in result.names for _ in result.positions or (None,)]
    effects = [
        {"name": str(name), "effect": row.effect, "in_circuit": row.in_circuit}
        | ({} if row.position is None else {"position": row.position})
        for name, row in zip(names, effect_rows(result, circuit), strict=True)
    ]
    return {
        "universe": result.universe,
        "ablation": result.ablation,
        "metric": result.metric,
        "n_inputs": result.n_inputs,
        "effects": effects,
        "auc": {name: area for name, (area, _, _) in areas_by_universe(result, circuit).items()},
    }


def sweep_row(
    case_id: str, result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> SweepRow:
    """A sweep as a row among others."""
    assert isinstance(result.ablation, str), "a sweep of one ablation"
    areas = {name: area for name, (area, _, _) in areas_by_universe(result, circuit).items()}
    largest = max(result.effects.min(), result.effects.max(), key=abs)
    return SweepRow(case_id, result.ablation, result.metric, float(largest), areas)


def _universe_of(result: "SweepResult[Edge] | SweepResult[Node]") -> UniverseName:
    assert result.universe is not None, "a sweep of a universe"
    return result.universe


def _ends(name: Edge | Node) -> tuple[str, ...]:
    return (str(name.src), str(name.dst)) if isinstance(name, Edge) else (str(name),)
