"""What each head and each MLP, alone, does to a model's output."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from interpbench_jax.axes import Tokens
from interpbench_jax.certificates.alone import HeldOut
from interpbench_jax.certificates.edges import drop_metric
from interpbench_jax.certificates.parts import NodeEffect
from interpbench_jax.certificates.rounding import round_effect
from interpbench_jax.metrics import METRICS, Targets, default_metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import components
from interpbench_jax.training.interchange import (
    first_position_used,
    node_mask,
    run,
    run_interchanged,
)


def measure_nodes(model: Transformer, pairs: HeldOut) -> dict[str, NodeEffect]:
    """The effect of resampling each head and each MLP, alone, for everything that reads it.

    Returns:
        By name, in forward order: heads at `hook_result`, MLPs at `hook_post`.
    """
    config = model.config
    nodes = components(config.n_layers, config.n_heads)
    masks = jnp.asarray(np.stack([node_mask(config, (node,)) for node in nodes]))
    total = np.zeros((len(nodes), 2))
    for part, n in pairs.chunks():
        found = _resample(
            model, part.base, part.source, part.targets, masks, pairs.atol, pairs.first_scored
        )
        total += np.asarray(found, np.float64)[:, :, :n].sum(axis=2)
    means = total / len(pairs.base)
    return {
        str(node): NodeEffect(round_effect(float(effect)), round_effect(float(drop)))
        for node, (effect, drop) in zip(nodes, means, strict=True)
    }


@partial(jax.jit, static_argnames=("atol", "first_scored"))
def _resample(
    model: Transformer,
    base: Tokens,
    source: Tokens,
    targets: Targets,
    masks: Bool[Array, "nodes layers layer_nodes"],
    atol: float,
    first_scored: int,
) -> Float[Array, "nodes 2 batch"]:
    """Effect and accuracy drop of each node, per pair."""
    first_used = first_position_used(first_scored)
    clean, other = run(model, base, first_used), run(model, source, first_used)
    scored = slice(first_scored - base.shape[1], None)
    metrics = (METRICS[default_metric(model.config)], drop_metric(atol))

    def resample_one(mask: Bool[Array, "layers layer_nodes"]) -> Float[Array, "2 batch"]:
        chosen = jnp.broadcast_to(mask, (base.shape[0], *mask.shape))
        stream, is_real = clean.streams[0], clean.is_real
        logits = run_interchanged(model, stream, other.values, chosen, is_real=is_real)
        parts = (logits[:, scored], clean.logits[:, scored], targets[:, scored])
        return jnp.stack([metric(*parts) for metric in metrics])

    return jax.lax.map(resample_one, masks)
