"""AtP*: attribution patching, more robust to saturated attention and canceling paths."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from interpbench_jax.discovery.method import DiscoveryData, Scores, node_groups
from interpbench_jax.discovery.node_effects import add_sources
from interpbench_jax.discovery.runs import start_runs
from interpbench_jax.engine.backward import differentiate
from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.clean import read_streams
from interpbench_jax.engine.layers import EXACT, attend, project, scale_at
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Weights, layer_of
from interpbench_jax.layout import VALUES
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer


@dataclass(frozen=True)
class AtPStarSettings:
    """Settings of AtP*.

    Attributes:
        qk_fix: whether a node's effect on later queries and keys is computed through the softmax
            instead of to first order.
        grad_drop: whether the derivative is computed once per layer without passing through it.
    """

    qk_fix: bool = True
    grad_drop: bool = True


def atp_star(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: AtPStarSettings,
    key: jax.Array,
) -> Scores:
    """Attribution patching of nodes with the QK fix and GradDrop, in the metric's unit.

    QK fix: the part of a node's effect that enters a later head through its queries is not
    linearized there. The head's output is computed with the queries that result from replacing the
    node and everything else as in the clean run; the change in that output is multiplied by the
    derivative by the head's output. Keys are treated the same way. All other parts are first order.

    GradDrop: for each layer, the effect is computed with no derivative going back through that
    layer's heads and MLP. The score is the mean over inputs and layers of the absolute value,
    times L / (L - 1) for L layers, so it is at least 0. Without GradDrop, and for models of one
    layer, where only the direct effect would remain, the score is the mean of the signed effect
    over inputs.

    Source: Kramar et al. 2024 (arXiv:2403.00745). The paper's nodes are queries, keys, values and
    neurons at single positions; ours are writers to the residual stream at all positions together.
    The fix therefore applies to the edges from a node into later queries and keys, one head and
    one of the two at a time. The paper's nodes lie inside a layer and have no effect once it is
    dropped, which is why the sum is divided by L - 1; ours come after that layer's computation and
    keep their effect on later layers.
    """
    runs = start_runs(model, data, metric)
    space, n_layers = data.edges(model.config), model.config.n_layers
    drops = settings.grad_drop and n_layers > 1
    flows = 1 - np.eye(n_layers) if drops else np.ones((1, n_layers))
    parts = runs.each(_effects, (settings.qk_fix,), flows.astype(runs.dtype))
    found = np.concatenate([np.asarray(part, np.float64) for part in parts], axis=2)
    effects = add_sources(found[:, :, : runs.n_inputs], node_groups(space))
    if not drops:
        return Scores("node", data.universe, effects[0].mean(axis=1))
    by_layer = np.abs(effects).mean(axis=2)
    values = by_layer.sum(axis=0) / (n_layers - 1)
    return Scores("node", data.universe, values, {"effects_by_dropped_layer": by_layer})


def _effects(
    form: Form,
    scoring: Scoring,
    qk_fix: bool,
    weights: Weights,
    chunk: Chunk,
    flows: Float[Array, "passes layers"],
) -> Float[Array, "passes src batch"]:
    """The effect of replacing each writer, for each row of `flows` (see `differentiate`)."""
    layout = weights.layout
    n_layers, n_writers = layout.n_layers, layout.n_writers
    changes = chunk.change(layout)

    def linear(flow: Float[Array, " layers"]) -> tuple[Array, list[Array]]:
        gates = jnp.ones(n_writers, flow.dtype)
        point = differentiate(form, scoring, weights, chunk, gates, flow=flow)
        effects = jnp.zeros((n_writers, len(chunk.share)), flow.dtype)
        for number, bars in enumerate(point.inputs_bar):
            layer, is_mlp = divmod(number, 2)
            if layer == n_layers:
                passed = jnp.ones_like(flow[0])
            else:
                passed = flow[layer]
                bars = bars if is_mlp or not qk_fix else bars[layout.of_kind(VALUES)]
            seen = jnp.concatenate(changes[: number + 1])
            effect = passed * (bars.sum(axis=0)[None] * -seen).sum(axis=(1, 2))
            effects = effects.at[: len(effect)].add(effect)
        heads_bar = [point.outputs_bar[1 + 2 * n] * flow[n] for n in range(n_layers)]
        return effects, heads_bar

    effects, heads_bar = jax.lax.map(linear, flows)
    for number in range(n_layers if qk_fix else 0):
        part = _through_softmax(form, weights, chunk, number, heads_bar[number])
        effects = effects.at[:, : part.shape[1]].add(part)
    return effects


def _through_softmax(
    form: Form,
    weights: Weights,
    chunk: Chunk,
    number: int,
    heads_bar: Float[Array, "passes heads d_model pos batch"],
) -> Float[Array, "passes seen batch"]:
    """The part of earlier writers' effects that enters a layer through its queries and keys."""
    layer, layout = layer_of(weights, number), weights.layout
    z_bar = jnp.einsum("hmd,shmpb->shdpb", layer.head_out, heads_bar, precision=EXACT)
    seen = slice(layout.first_head(number))
    norm, outputs = layout.attention_norm(number), chunk.run.outputs[seen]
    stream = read_streams(weights, chunk.run.outputs)[norm]
    scale = scale_at(chunk.run.scales, norm)
    q, k, v = project(form, layer, stream, scale)
    z = attend(q, k, v, weights)

    def effect(change: Float[Array, "d_model pos batch"]) -> Float[Array, "passes batch"]:
        new_q, new_k, _ = project(form, layer, stream - change, scale)
        by_queries = attend(new_q, k, v, weights) - z
        by_keys = attend(q, new_k, v, weights) - z
        return (z_bar * (by_queries + by_keys)[None]).sum(axis=(1, 2, 3))

    return jax.lax.map(effect, outputs - chunk.replacement[seen]).transpose(1, 0, 2)
