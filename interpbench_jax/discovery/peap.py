"""Position-aware edge attribution patching."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.discovery.method import DiscoveryData, Scores, add_up, edge_groups
from interpbench_jax.discovery.runs import mean_of, start_runs
from interpbench_jax.engine.backward import Derivatives, by_mask_at, differentiate
from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.crossing import Crossings, crossing_effects
from interpbench_jax.engine.masked import Changes
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Weights
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer


@dataclass(frozen=True)
class PEAPSettings:
    """Position-aware edge attribution patching has no settings."""


def peap(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: PEAPSettings,
    key: jax.Array,
) -> Scores:
    """The effect of cutting each edge at each position, to first order at the clean run.

    `by_position` has the score of every edge at every position at which its reader reads it: the
    terms of which `eap` is the sum. `values` adds up their sizes, so that positions do not cancel
    one another. All scores are averaged over inputs, in the metric's unit, and positive where
    cutting hurts. Every position is a span of its own, as all inputs have the same positions.

    The edges that the paper calls crossing lie inside a head, from one position to another. They
    are `details["crossing_q"]`, `"crossing_k"` and `"crossing_v"`, of shape `[layers, heads, q_pos,
    k_pos]`: the head's output at the query is computed with the score of this query and key as the
    other run's query, or key, gives it, or with the other run's value at the key's position; its
    effect on the metric is first order.
    Source: Haklay et al. 2025 (arXiv:2502.04577).
    """
    runs = start_runs(model, data, metric)
    gates = np.ones(runs.layout.n_writers, runs.dtype)
    (parts,) = runs.each_of(_slopes, (), [(gates,)], then=_contract)
    slopes, crossings = mean_of(parts, runs.n_inputs)
    groups = edge_groups(data.edges(model.config))
    by_position = np.stack([add_up(-at, groups) for at in slopes], axis=1)
    details = {f"crossing_{kind}": crossings[:, number] for number, kind in enumerate("qkv")}
    values = np.abs(by_position).sum(axis=1)
    return Scores("edge", data.universe, values, details, by_position=by_position)


class _Terms(NamedTuple):
    """What the scores of edges are products of, and the scores of crossing edges."""

    inputs_bar: tuple[Derivatives, ...]
    change: tuple[Changes, ...]
    crossings: Crossings


def _slopes(
    form: Form, scoring: Scoring, weights: Weights, chunk: Chunk, gates: Float[Array, " src"]
) -> _Terms:
    point = differentiate(form, scoring, weights, chunk, gates)
    crossings = crossing_effects(form, weights, chunk, point.outputs_bar)
    return _Terms(point.inputs_bar, point.change, crossings)


def _contract(terms: _Terms) -> tuple[Float[Array, "pos dst src"], Crossings]:
    return by_mask_at(terms.inputs_bar, terms.change), terms.crossings
