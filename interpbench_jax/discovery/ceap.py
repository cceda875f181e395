"""Conductance-based edge attribution patching."""

from dataclasses import dataclass
from itertools import pairwise

import jax
import numpy as np

from interpbench_jax.discovery.attribution import embedding_gates
from interpbench_jax.discovery.method import DiscoveryData, Scores, add_up, edge_groups
from interpbench_jax.discovery.runs import mean_of, start_runs
from interpbench_jax.engine.backward import FineMask, Point, WriterGates, by_mask, differentiate
from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.masked import Changes
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Weights
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer


@dataclass(frozen=True)
class CEAPSettings:
    """Settings of conductance-based edge attribution patching.

    Attributes:
        steps: the number of steps from the replacements to the clean run.
    """

    steps: int = 30

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"Expected at least 1 step, got {self.steps}.")


def ceap(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: CEAPSettings,
    key: jax.Array,
) -> Scores:
    """EAP in small steps, each of which changes a writer's output by what it changes there.

    The way begins where every writer's output is its replacement. After step k of n, the embeddings
    are k/n of the clean ones plus 1 - k/n of their replacements, and everything after them is
    recomputed. A step adds to an edge's score the derivative by the reader's input after the step,
    times the change of the writer's output during it: `eap_ig_inputs` multiplies the mean
    derivative by the whole change, although a writer may change where nothing depends on it. One
    step is `eap`. If the replacements come from corrupted inputs, the scores of all edges into the
    output add up to the effect of these inputs, up to an error of order 1/n, and so do those of all
    edges from the embeddings.

    Scores are averaged over inputs, in the metric's unit, and positive where cutting hurts.
    Source: Wu et al. 2026 (arXiv:2606.16920), after the conductance of Dhamdhere et al. 2019
    (arXiv:1805.12233).
    """
    runs = start_runs(model, data, metric)
    shares = np.arange(1, settings.steps + 1) / settings.steps
    gates = [np.zeros(runs.layout.n_writers), *(embedding_gates(model, x) for x in shares)]
    gates = [gate.astype(runs.dtype) for gate in gates]
    found = runs.each_of(_step, (), list(pairwise(gates)), then=_contract)
    slopes = np.sum([mean_of(parts, runs.n_inputs) for parts in found], axis=0)
    return Scores("edge", data.universe, add_up(-slopes, edge_groups(data.edges(model.config))))


def _step(
    form: Form,
    scoring: Scoring,
    weights: Weights,
    chunk: Chunk,
    before: WriterGates,
    after: WriterGates,
) -> Point:
    """The derivative after a step, and the change of every writer's output during it."""
    # Only the outputs of this run are used, so its way back is not compiled.
    start = differentiate(form, scoring, weights, chunk, before)
    end = differentiate(form, scoring, weights, chunk, after)
    groups = weights.layout.writer_groups()

    def sent(changes: tuple[Changes, ...], gates: WriterGates) -> list[Changes]:
        pairs = zip(groups, changes, strict=True)
        return [gates[group, None, None, None] * change for group, change in pairs]

    both = zip(sent(start.change, before), sent(end.change, after), strict=True)
    return end._replace(change=tuple(new - old for old, new in both), outputs_bar=())


def _contract(point: Point) -> FineMask:
    return by_mask(point.inputs_bar, point.change)
