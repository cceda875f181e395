"""Information flow routes: the share of each writer in a reader's input."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.discovery.method import DiscoveryData, Scores, node_groups
from interpbench_jax.discovery.runs import start_runs
from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.clean import read_streams
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Weights
from interpbench_jax.layout import Layout
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import Kind, Node
from interpbench_jax.universes import Universe


@dataclass(frozen=True)
class FlowRoutesSettings:
    """Information flow routes have no settings."""


def flow_routes(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: FlowRoutesSettings,
    key: jax.Array,
) -> Scores:
    """Each writer's share of a reader's input in the clean run, in 0..1.

    Let `y` be the residual stream at the reader and `x` one writer's output, both at one position
    of one input. The writer's proximity is `max(|y| - |y - x|, 0)` in the L1 norm. Shares are
    proximities divided by their sum; the score is the mean over scored positions and inputs. The
    metric and the replacements are not used. The q, k and v of all heads of a layer read the same
    stream, so they get the same scores.
    Source: Ferrando and Voita 2024 (arXiv:2403.00824), with whole components as writers, as in
    EAP-IG's implementation (Hanna et al. 2024, arXiv:2403.17806, at `795f560`). The paper also
    traces what a head moves from single positions; this method does not. Biases are part of `y`
    and belong to no writer. The method differs from that implementation in three ways: the
    positional embedding is a writer, or part of the merged one, but belongs to no writer there;
    the mean is over scored positions, but over all positions there; and if all proximities are 0,
    so are the shares, where the implementation divides by 0.
    """
    runs = start_runs(model, data, metric)
    space = data.edges(model.config)
    groups = tuple(int(source) for source in node_groups(space))
    shares = runs.mean(_shares, (groups,))
    column = {node: i for i, node in enumerate(space.sources)}
    values = [shares[_place(edge.dst, space), column[edge.src]] for edge in space.edges]
    return Scores("edge", data.universe, np.asarray(values))


def _place(reader: Node, space: Universe) -> int:
    """The number of the layer norm in front of a reader; residual streams have the same numbers."""
    layout, layer = Layout(space.n_layers, space.n_heads), reader.layer or 0
    if reader.kind is Kind.RESID_POST:
        return layout.final_norm
    return layout.mlp_norm(layer) if reader.kind is Kind.MLP_IN else layout.attention_norm(layer)


def _shares(
    form: Form, scoring: Scoring, groups: tuple[int, ...], weights: Weights, chunk: Chunk
) -> Float[Array, "norms sources"]:
    """The share of every source in every residual stream that is read, summed over inputs."""
    layout = weights.layout
    outputs = chunk.run.outputs[:, :, scoring.first_scored :]
    sources = [outputs[groups.index(source)] for source in range(max(groups) + 1)]
    for writer, source in enumerate(groups):
        if groups.index(source) != writer:
            sources[source] = sources[source] + outputs[writer]
    rows = []
    for norm, stream in enumerate(read_streams(weights, outputs)):
        seen = 1 + groups[layout.written_before(norm) - 1]
        proximity = [_proximity(stream, source) for source in sources[:seen]]
        total = sum(proximity[1:], proximity[0])
        weight = jnp.where(total > 0, chunk.share[None] / jnp.where(total > 0, total, 1), 0)
        row = [(each * weight).sum(axis=1).mean(axis=0) for each in proximity]
        rows.append(jnp.pad(jnp.stack(row), (0, len(sources) - seen)))
    return jnp.stack(rows)


def _proximity(
    stream: Float[Array, "d_model pos batch"], source: Float[Array, "d_model pos batch"]
) -> Float[Array, "pos batch"]:
    def norm(x: Array) -> Array:
        return jnp.abs(x).sum(axis=0)

    return jnp.maximum(norm(stream) - norm(stream - source), 0)
