"""The head importance score for pruning (HISP), for heads and MLPs."""

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
    """Settings of HISP.

    Attributes:
        normalize: whether scores are divided by the Euclidean norm of their layer's scores.
    """

    normalize: bool = True


def hisp(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: HISPSettings,
    key: jax.Array,
) -> Scores:
    """How much an input's metric changes, to first order, when a node is replaced.

    For each input, the derivative of the metric by the node's output, times its replacement minus
    its output, is summed over positions and features; the score is the mean over inputs of the
    absolute values, at least 0.
    Source: Michel et al. 2019 (arXiv:1905.10650), who remove a head's whole output; with other
    replacements and with MLPs as in the comparison of Conmy et al. 2023 (arXiv:2304.14997). As
    there, a layer's heads and its MLP are normalized together; but the nodes are heads here, and
    their queries, keys and values there. The embeddings, which that comparison leaves out, are
    normalized as a separate layer.
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
    """Values divided by the norm of their layer's values; zeros stay zeros."""
    layers = np.split(values, range(n_embeddings, len(values), n_in_layer))
    norms = [np.linalg.norm(layer) for layer in layers]
    return np.concatenate(
        [layer / (norm if norm > 0 else 1) for layer, norm in zip(layers, norms, strict=True)]
    )
