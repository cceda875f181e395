"""Head importance score for pruning, for heads and MLPs."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from interpbench_jax.discovery.method import DiscoveryData, Scores
from interpbench_jax.discovery.node_effects import node_effects
from interpbench_jax.layout import N_EMBEDDINGS, Layout
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer


@dataclass(frozen=True)
class HISPSettings:
    """Settings.

    Attributes:
        normalize: whether scores are divided by the Euclidean norm of their layer's.
    """

    normalize: bool = True


def hisp(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: HISPSettings,
    key: jax.Array,
) -> Scores:
    """How much the metric of an input moves, to first order, when a node is replaced.

    For each input the derivative of the metric by the node's output, times its replacement less
    its output, is summed over positions and features; the score is the mean over inputs of the
    absolute values, at least 0.
    Source: Michel et al. 2019 (arXiv:1905.10650), where what is taken
    away is the whole output of a head; for other replacements and MLPs as in the comparison of
    Conmy et al. 2023 (arXiv:2304.14997). As there, a layer's heads and its MLP are
    normalised together; but heads are nodes here, where its queries, keys and values were. The
    embeddings, which it leaves out, are a layer of their own.
    """
    effects = node_effects(model, data, metric)
    values = np.abs(effects).mean(axis=1)
    if settings.normalize:
        layout = Layout(model.config.n_layers, model.config.n_heads)
        n_embeddings = len(values) - layout.n_writers + N_EMBEDDINGS
        values = _normalize(values, n_embeddings, layout.writers_of_layer)
    return Scores("node", data.universe, values)


def _normalize(
    values: Float[np.ndarray, " sources"], n_embeddings: int, n_in_layer: int
) -> Float[np.ndarray, " sources"]:
    """Values over the norm of their layer's; zeros stay zeros."""
    layers = np.split(values, range(n_embeddings, len(values), n_in_layer))
    norms = [np.linalg.norm(layer) for layer in layers]
    return np.concatenate(
        [layer / (norm if norm > 0 else 1) for layer, norm in zip(layers, norms, strict=True)]
    )
