"""The scoring of one run of a method: how its scores become rows of results."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from interpbench_jax.axes import Constants
from interpbench_jax.bench.plan import Facts, Subject
from interpbench_jax.bench.submission import item_names
from interpbench_jax.cases import TaskPairs
from interpbench_jax.circuit import Circuit
from interpbench_jax.discovery import Scores
from interpbench_jax.names import AblationName, Level
from interpbench_jax.report.rows import LEVELS, CurveRow, ResultRow, ScoreRow
from interpbench_jax.scores import (
    PAPER_UNIVERSE,
    Curve,
    counted_in,
    edges_from_nodes,
    kept_curve,
    nodes_from_edges,
    paper_auc,
    paper_curve,
    promote_node_scores,
    promote_scores,
    rank_scores,
    score_largest,
    structure_scores,
    truth_of,
)
from interpbench_jax.scores.faithfulness import FaithfulnessCurve, faithfulness_curve
from interpbench_jax.universes import UNIVERSES, UniverseName

ValuesByUniverse = Mapping[tuple[UniverseName, Level], Float[np.ndarray, " items"]]


@dataclass(frozen=True)
class _Choice:
    """How a method's most important items compare with the truth; the fields are the row's."""

    precision: float | None
    recall: float | None
    f1: float | None
    shd: int | None = None
    is_connected: bool | None = None


@dataclass(frozen=True)
class RunScores:
    """The scores of one run.

    Attributes:
        results: a row for every universe and level, without `seconds`.
        curves: its faithfulness curves; empty if cutting every edge has no effect.
    """

    results: tuple[ResultRow, ...]
    curves: tuple[CurveRow, ...]


def score_run(
    facts: Facts,
    subject: Subject,
    pairs: TaskPairs,
    scores: Scores,
    ablation: AblationName | Constants,
) -> RunScores:
    """Score a run in every universe and level.

    Importance is the absolute score. `scores.edges_from_nodes` scores the edges of a method that
    scores nodes, and `nodes_from_edges` the nodes of one that scores edges. Precision, recall and
    F1 are those of the most important items, as many as are true, averaged over the ways to break
    ties; `shd` is averaged likewise, then rounded. Rows of `head` have the paper's area. The row
    of edges in the finest universe has the faithfulness, under the run's ablation and inputs; for
    its CPR, and nothing else, signed scores choose the circuits, as in MIB.

    Raises:
        ValueError: if circuits cannot be evaluated, because effects are NaN or infinite.
    """
    values = values_by_universe(scores, subject.circuit)
    curve = paper_curve_of(scores, values, subject.circuit)
    signed, by_size = _faithfulness(subject, pairs, scores, ablation)
    cpr, cmd = _finite(signed.cpr), _finite(by_size.cmd)
    rows = []
    for rank in rank_scores(scores.values, subject.circuit, scores.universe, scores.level):
        name, level = rank.universe, rank.level
        choice = _choose(values[name, level], subject.circuit, name, level)
        is_finest = name == scores.universe and level == "edge"
        row = ResultRow.of_rank(
            rank,
            case=facts.run.case,
            tier=facts.tier,
            method=facts.run.method,
            truth=subject.truth,
            model_digest=facts.model_digest,
        )
        rows.append(
            replace(
                row,
                ablation=facts.run.ablation,
                seed=facts.run.seed,
                order=facts.run.order,
                paper_auc=paper_auc(curve, level) if name == PAPER_UNIVERSE else None,
                precision=choice.precision,
                recall=choice.recall,
                f1=choice.f1,
                shd=choice.shd,
                is_connected=choice.is_connected,
                cpr=cpr if is_finest else None,
                cmd=cmd if is_finest else None,
                metric=facts.metric,
                n_inputs=facts.n_inputs,
                settings=facts.settings,
                package_version=facts.package_version,
                jax_version=facts.jax_version,
                device=facts.device,
                circuit_digest=facts.circuit_digest,
                data_digest=facts.data_digest,
            )
        )
    curves = (*_curve_rows(facts, signed, False), *_curve_rows(facts, by_size, True))
    return RunScores(tuple(rows), curves)


def values_by_universe(scores: Scores, circuit: Circuit) -> ValuesByUniverse:
    """Return the importance of every edge and node, in a method's universe and coarser ones."""
    shape = (circuit.n_layers, circuit.n_heads)
    own = np.abs(np.asarray(scores.values, np.float64))
    found: dict[tuple[UniverseName, Level], np.ndarray] = {}
    for name in UNIVERSES[UNIVERSES.index(scores.universe) :]:
        if scores.level == "edge":
            edges = promote_scores(own, scores.universe, name, *shape)
            nodes = nodes_from_edges(edges, name, *shape)
        else:
            nodes = promote_node_scores(own, scores.universe, name, *shape)
            edges = edges_from_nodes(nodes, name, *shape)
        found[name, "edge"], found[name, "node"] = edges, nodes
    return found


def paper_curve_of(scores: Scores, values: ValuesByUniverse, circuit: Circuit) -> Curve:
    """Return the paper's curve: over its thresholds, or over those of a method that has its own.

    Such a method says in `details["kept"]` which edges each of its thresholds keeps.
    """
    kept = scores.details.get("kept")
    if kept is None:
        return paper_curve(values[scores.universe, "edge"], circuit, scores.universe)
    numbers = tuple(map(float, range(len(kept))))
    return kept_curve(np.asarray(kept, bool), circuit, scores.universe, thresholds=numbers)


def score_rows(
    facts: Facts, circuit: Circuit, values: Mapping[Level, Float[np.ndarray, " items"]]
) -> list[ScoreRow]:
    """Return the importance of every edge and every node of the finest universe, as rows."""
    run, shape = facts.run, (circuit.n_layers, circuit.n_heads)
    truths = {
        "edge": circuit.edge_truths(facts.universe).values(),
        "node": circuit.node_truths(facts.universe).values(),
    }
    return [
        ScoreRow(
            case=run.case,
            method=run.method,
            ablation=run.ablation,
            seed=run.seed,
            order=run.order,
            level=level,
            item=item,
            value=float(value),
            truth=truth,
        )
        for level in LEVELS
        for item, value, truth in zip(
            item_names(facts.universe, level, *shape), values[level], truths[level], strict=True
        )
    ]


def _choose(
    values: Float[np.ndarray, " items"], circuit: Circuit, name: UniverseName, level: Level
) -> _Choice:
    if level == "node":
        counts = counted_in(circuit, name, level)
        nodes = score_largest(values[counts], truth_of(circuit, name, level)[counts])
        return _Choice(nodes.precision, nodes.recall, nodes.f1)
    found = structure_scores(values, circuit, name)
    edges = found.edges
    return _Choice(
        edges.precision, edges.recall, edges.f1, round(edges.hamming), found.is_connected
    )


def _faithfulness(
    subject: Subject, pairs: TaskPairs, scores: Scores, ablation: AblationName | Constants
) -> tuple[FaithfulnessCurve, FaithfulnessCurve]:
    """Return MIB's curves: of circuits by signed scores, for CPR, and by absolute ones, for CMD."""

    def curve(absolute: bool) -> FaithfulnessCurve:
        values = np.asarray(scores.values, np.float64)
        if scores.level == "node":
            shape = (subject.circuit.n_layers, subject.circuit.n_heads)
            values = edges_from_nodes(values, scores.universe, *shape, absolute=absolute)
        return faithfulness_curve(
            subject.case.model,
            pairs,
            values,
            universe=scores.universe,
            absolute=absolute,
            ablation=ablation,
        )

    by_size = curve(absolute=True)
    signed = (np.asarray(scores.values) < 0).any()
    return curve(absolute=False) if signed else by_size, by_size


def _curve_rows(facts: Facts, curve: FaithfulnessCurve, absolute: bool) -> list[CurveRow]:
    """Return a curve as rows; none if it is undefined or overflows somewhere."""
    if curve.faithfulness is None or not np.isfinite(curve.faithfulness).all():
        return []
    run = facts.run
    return [
        CurveRow(
            case=run.case,
            method=run.method,
            ablation=run.ablation,
            seed=run.seed,
            order=run.order,
            absolute=absolute,
            fraction=float(fraction),
            n_edges=int(n_edges),
            faithfulness=float(faithfulness),
        )
        for fraction, n_edges, faithfulness in zip(
            curve.fractions, curve.n_edges, curve.faithfulness, strict=True
        )
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
