"""The derivative by every edge's mask at points between two runs, for gradient methods."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from interpbench_jax.discovery.method import DiscoveryData, Scores, add_up, edge_groups
from interpbench_jax.discovery.runs import Runs, mean_of, start_runs
from interpbench_jax.engine.backward import FineMask, Point, WriterGates, by_mask, differentiate
from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Weights
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer

OfWriters = Float[np.ndarray, " src"]
PlaceGates = OfWriters | tuple[OfWriters, OfWriters]
Difference = Literal["of_clean_run", "of_each_run"]


def edge_slopes(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    points: Sequence[PlaceGates],
    difference: Difference,
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
    """
    runs = start_runs(model, data, metric)
    slopes = [mask_slopes(runs, *_pair(point), difference)[1] for point in points]
    slopes = np.mean(slopes, axis=0)
    return Scores("edge", data.universe, add_up(-slopes, edge_groups(data.edges(model.config))))


def _pair(point: PlaceGates) -> tuple[OfWriters, OfWriters]:
    return point if isinstance(point, tuple) else (point, point)


def mask_slopes(
    runs: Runs,
    mask: Float[np.ndarray, " src"] | Float[np.ndarray, "dst src"],
    passed: Float[np.ndarray, " src"] | None,
    difference: Difference,
) -> tuple[float, Float[np.ndarray, "dst src"]]:
    """The metric at one point and its derivative by every edge's mask, averaged over inputs."""
    passed = None if passed is None else np.asarray(passed, runs.dtype)
    mask = np.asarray(mask, runs.dtype)
    parts = runs.each(_slopes, (difference,), mask, passed)
    # In the same program as `_slopes`, this product takes three times as long on a CPU.
    slopes = mean_of(runs.then(_contract, parts), runs.n_inputs)
    values = np.concatenate([np.asarray(part.value, np.float64) for part in parts])
    return float(values.sum() / runs.n_inputs), slopes


def _slopes(
    form: Form,
    scoring: Scoring,
    difference: Difference,
    weights: Weights,
    chunk: Chunk,
    mask: FineMask | WriterGates,
    passed: WriterGates | None,
) -> Point:
    point = differentiate(form, scoring, weights, chunk, mask, passed=passed)
    if difference == "of_clean_run":
        point = point._replace(change=chunk.change(weights.layout))
    return point._replace(outputs_bar=())


def _contract(point: Point) -> FineMask:
    return by_mask(point.inputs_bar, point.change)
