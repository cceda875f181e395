"""Rows that compare a sweep with the truth."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from interpbench_jax.circuit import Circuit, TruthValue
from interpbench_jax.names import Level
from interpbench_jax.report.tables import Area, EffectRow, SweepRow
from interpbench_jax.scores import (
    counted_in,
    edge_auc_by_universe,
    heard,
    node_auc,
    promote_scores,
    truth_of,
)
from interpbench_jax.sites import Edge, Node
from interpbench_jax.universes import UniverseName, universe

if TYPE_CHECKING:
    from interpbench_jax.sweeps import SweepResult


def effect_rows(
    result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> list[EffectRow]:
    """Return one row per edit, and per position if so swept, in the sweep's order.

    The circuit is None if it is not known. The sweep must have one ablation.
    """
    space = _universe_of(result)
    truths: Mapping[Edge, TruthValue] | Mapping[Node, TruthValue] = {}
    if circuit is not None and isinstance(result.names[0], Edge):
        truths = circuit.edge_truths(space)
    elif circuit is not None:
        truths = circuit.node_truths(space)
    positions = (None,) if result.positions is None else result.positions
    effects = result.effects.reshape(len(result.names), len(positions))
    return [
        EffectRow(_ends(name), float(effect), truths.get(name), position)  # pyright: ignore
        for name, own in zip(result.names, effects, strict=True)
        for position, effect in zip(positions, own, strict=True)
    ]


def areas_by_universe(
    result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> dict[str, Area]:
    """Return ROC-AUC by universe, with the number of items in the circuit and of all items.

    Edges are scored in their own universe and the coarser ones, nodes in their own; the result is
    empty if the circuit is not known. Effects count by magnitude, because an edge also matters if
    cutting it makes outputs better; if positions were patched alone, the largest one counts.
    """
    if circuit is None:
        return {}
    space, shape = _universe_of(result), (circuit.n_layers, circuit.n_heads)
    sizes = heard(result, abs(result.effects))
    effects = sizes if result.positions is None else sizes.max(axis=-1)
    if isinstance(result.names[0], Edge):
        areas = edge_auc_by_universe(effects, circuit, space)
        return {
            name: _area(area, promote_scores(effects, space, name, *shape), circuit, name, "edge")
            for name, area in areas.items()
        }
    found = _area(None, effects, circuit, space, "node")
    if 0 < found.n_true < found.n_items:
        nodes = universe(space, *shape).sources
        found = found._replace(value=node_auc(nodes, effects, circuit, space))
    return {space: found}


def _area(
    value: float | None,
    effects: Float[np.ndarray, " items"],
    circuit: Circuit,
    name: UniverseName,
    level: Level,
) -> Area:
    truth, counts = truth_of(circuit, name, level), counted_in(circuit, name, level)
    scored = effects[counts]
    return Area(
        value,
        n_true=int(truth.sum()),
        n_items=len(scored),
        n_constant=int((~counts).sum()),
        n_silent=int((effects[truth] == 0).sum()),
        is_tied=bool((scored == scored[:1]).all()),
    )


def sweep_as_json(
    result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> dict[str, object]:
    """Return a sweep and its scores as plain JSON values, with each effect's position if any."""
    names = [name for name in result.names for _ in result.positions or (None,)]
    effects = [
        {"name": str(name), "effect": row.effect, "truth": row.truth}
        | ({} if row.position is None else {"position": row.position})
        for name, row in zip(names, effect_rows(result, circuit), strict=True)
    ]
    areas = areas_by_universe(result, circuit)
    return {
        "universe": result.universe,
        "ablation": result.ablation,
        "metric": result.metric,
        "n_inputs": result.n_inputs,
        "noise_floor": result.noise_floor,
        "effects": effects,
        "auc": {name: area.value for name, area in areas.items()},
        "notes": _notes(areas, result),
    }


def sweep_row(
    case_id: str, result: "SweepResult[Edge] | SweepResult[Node]", circuit: Circuit | None
) -> SweepRow:
    """Return a sweep as one row of a table of sweeps."""
    assert isinstance(result.ablation, str), "a sweep of one ablation"
    areas = areas_by_universe(result, circuit)
    largest = max(result.effects.min(), result.effects.max(), key=abs)
    values = {name: area.value for name, area in areas.items()}
    notes = _notes(areas, result)
    return SweepRow(case_id, result.ablation, result.metric, float(largest), values, notes)


def _notes(
    areas: Mapping[str, Area], result: "SweepResult[Edge] | SweepResult[Node]"
) -> dict[str, str]:
    """Return the notes that explain the areas, by universe, without empty ones."""
    notes = {name: area.note(result.level or "edge") for name, area in areas.items()}
    return {name: note for name, note in notes.items() if note}


def _universe_of(result: "SweepResult[Edge] | SweepResult[Node]") -> UniverseName:
    assert result.universe is not None, "a sweep of a universe"
    return result.universe


def _ends(name: Edge | Node) -> tuple[str, ...]:
    return (str(name.src), str(name.dst)) if isinstance(name, Edge) else (str(name),)
