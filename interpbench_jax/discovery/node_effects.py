"""First-order effects of replacing nodes, for each input."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from interpbench_jax.discovery.method import DiscoveryData, node_groups
from interpbench_jax.discovery.runs import start_runs
from interpbench_jax.engine.backward import differentiate
from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Weights
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer


def node_effects(
    model: Transformer, data: DiscoveryData, metric: Metric
) -> Float[np.ndarray, "sources batch"]:
    """The effect of replacing each source of the universe on the metric of each input.

    The effect is first order at the clean run: the derivative of the metric by the node's output,
    times its replacement minus its output, summed over positions and features.
    """
    runs = start_runs(model, data, metric)
    gates = np.ones(runs.layout.n_writers, runs.dtype)
    found = [np.asarray(part) for part in runs.each(_effects, (), gates)]
    effects = np.concatenate(found, axis=1)[:, : runs.n_inputs]
    return add_sources(effects, node_groups(data.edges(model.config)))


def add_sources(
    effects: Float[np.ndarray, "*passes src batch"], groups: Int[np.ndarray, " src"]
) -> Float[np.ndarray, "*passes sources batch"]:
    """The effect of each source of a universe: the sum of the effects of its writers."""
    sums = np.zeros((*effects.shape[:-2], groups.max() + 1, effects.shape[-1]))
    for writer, source in enumerate(groups):
        sums[..., source, :] += effects[..., writer, :]
    return sums


def _effects(
    form: Form, scoring: Scoring, weights: Weights, chunk: Chunk, gates: Float[Array, " src"]
) -> Float[Array, "src batch"]:
    point = differentiate(form, scoring, weights, chunk, gates)
    products = [
        -(bar * change).sum(axis=(1, 2))
        for bar, change in zip(point.outputs_bar, point.change, strict=True)
    ]
    return jnp.concatenate(products)
