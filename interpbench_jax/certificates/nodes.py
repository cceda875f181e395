"""The effect of each head and each MLP alone on a model's output."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from interpbench_jax.axes import Tokens
from interpbench_jax.certificates.alone import HeldOut
from interpbench_jax.certificates.edges import all_measures
from interpbench_jax.certificates.parts import MEASURES, NodeEffect
from interpbench_jax.certificates.rounding import round_effect
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import components
from interpbench_jax.targets import Targets
from interpbench_jax.training.interchange import node_mask, run, run_interchanged


def measure_nodes(model: Transformer, pairs: HeldOut) -> dict[str, NodeEffect]:
    """Measure the effect of resampling each head and each MLP alone, for all of its readers.

    Returns:
        The effects by node name, in forward order: heads at `hook_result`, MLPs at `hook_post`.
    """
    config = model.config
    nodes = components(config.n_layers, config.n_heads)
    masks = jnp.asarray(np.stack([node_mask(config, (node,)) for node in nodes]))
    resample = jax.jit(partial(_resample, all_measures(pairs)))
    total = np.zeros((len(nodes), len(MEASURES) + 1))
    for part, n in pairs.chunks():
        found = resample(model, part.base, part.source, part.compared, masks)
        total += np.asarray(found, np.float64)[:, :, :n].sum(axis=2)
    means = total / len(pairs.base)
    return {
        str(node): NodeEffect(*map(round_effect, row.tolist()))
        for node, row in zip(nodes, means, strict=True)
    }


def _resample(
    metrics: tuple[Metric, ...],
    model: Transformer,
    base: Tokens,
    source: Tokens,
    targets: Targets,
    masks: Bool[Array, "nodes layers layer_nodes"],
) -> Float[Array, "nodes measures batch"]:
    """Every measure for each node and each pair."""
    clean, other = run(model, base), run(model, source)

    def resample_one(mask: Bool[Array, "layers layer_nodes"]) -> Float[Array, "measures batch"]:
        chosen = jnp.broadcast_to(mask, (base.shape[0], *mask.shape))
        stream, is_real = clean.streams[0], clean.is_real
        logits = run_interchanged(model, stream, other.values, chosen, is_real=is_real)
        return jnp.stack([metric(logits, clean.logits, targets) for metric in metrics])

    return jax.lax.map(resample_one, masks)
