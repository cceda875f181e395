"""The derivative by every edge's mask at points between two runs, for gradient methods."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Array, Bool, Float

from interpbench_jax.discovery.method import DiscoveryData, Scores, add_up, edge_groups
from interpbench_jax.discovery.runs import Runs, mean_of, start_runs
from interpbench_jax.engine.backward import (
    FineMask,
    Point,
    Rule,
    WriterGates,
    by_mask,
    differentiate,
)
from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Weights
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import EMBEDDINGS, Kind, Node, writers

OfWriters = Float[np.ndarray, " src"]
PlaceGates = OfWriters | tuple[OfWriters, OfWriters]
# A mask, or gates, and what goes back through each writer, if not its gate.
MaskPoint = tuple[OfWriters | Float[np.ndarray, "dst src"], OfWriters | None]
Difference = Literal["of_clean_run", "of_each_run"]


def edge_slopes(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    points: Sequence[PlaceGates],
    difference: Difference,
    rule: Rule = "derivative",
) -> Scores:
    """First-order effects of cutting edges, averaged over inputs and over points.

    At each point, a fraction `1 - gate` of every writer's output is replaced, for all readers. The
    effect of an edge is the derivative of the metric by the reader's input, times the change of
    that input when the edge is cut.

    Args:
        model: the model.
        data: the inputs.
        metric: the metric.
        points: the writers' gates at each point; or a pair of the gates and the share of the
            derivative that goes back through each writer (`backward.differentiate`).
        difference: the change that a cut makes: the writer's replacement minus its output in the
            clean run, or minus its output in the run at the point.
        rule: what goes back through layer norms and activation functions.
    """
    runs = start_runs(model, data, metric)
    found = mask_slopes(runs, [_pair(point) for point in points], difference, rule)
    slopes = np.mean([slopes for _, slopes in found], axis=0)
    return Scores("edge", data.universe, add_up(-slopes, edge_groups(data.edges(model.config))))


def embedding_gates(model: Transformer, share: float) -> OfWriters:
    """The gates of a run that keeps a share of the embeddings, and recomputes everything else."""
    return np.where(is_written_by(model, EMBEDDINGS), share, 1.0)


def is_written_by(
    model: Transformer, kinds: tuple[Kind, ...], layer: int | None = None
) -> Bool[np.ndarray, " src"]:
    """Which writers are of some kinds: in a layer, or in all."""

    def matches(node: Node) -> bool:
        return node.kind in kinds and (layer is None or node.layer == layer)

    nodes = writers(model.config.n_layers, model.config.n_heads)
    return np.asarray([matches(node) for node in nodes])


def _pair(point: PlaceGates) -> tuple[OfWriters, OfWriters]:
    return point if isinstance(point, tuple) else (point, point)


def mask_slopes(
    runs: Runs,
    points: Sequence[MaskPoint],
    difference: Difference,
    rule: Rule = "derivative",
) -> list[tuple[float, Float[np.ndarray, "dst src"]]]:
    """The metric at some points and its derivative by every edge's mask, averaged over inputs.

    Args:
        runs: the runs.
        points: the mask of each point, and what goes back through each writer, if not the mask.
        difference: see `edge_slopes`.
        rule: what goes back through layer norms and activation functions.
    """
    variants = [
        (np.asarray(mask, runs.dtype), None if passed is None else np.asarray(passed, runs.dtype))
        for mask, passed in points
    ]
    # In the same program as `_slopes`, the product of `_contract` takes three times as long on a
    # CPU.
    found = runs.each_of(_slopes, (difference, rule), variants, then=_contract)
    return [
        (
            float(sum(np.asarray(value, np.float64).sum() for value, _ in parts) / runs.n_inputs),
            mean_of([slopes for _, slopes in parts], runs.n_inputs),
        )
        for parts in found
    ]


def _slopes(
    form: Form,
    scoring: Scoring,
    difference: Difference,
    rule: Rule,
    weights: Weights,
    chunk: Chunk,
    mask: FineMask | WriterGates,
    passed: WriterGates | None,
) -> Point:
    point = differentiate(form, scoring, weights, chunk, mask, passed=passed, rule=rule)
    if difference == "of_clean_run":
        point = point._replace(change=chunk.change(weights.layout))
    return point._replace(outputs_bar=())


def _contract(point: Point) -> tuple[Float[Array, " batch"], FineMask]:
    return point.value, by_mask(point.inputs_bar, point.change)
