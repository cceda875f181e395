"""Edge attribution patching."""

from dataclasses import dataclass

import jax
import numpy as np

from interpbench_jax.discovery.attribution import edge_slopes
from interpbench_jax.discovery.method import DiscoveryData, Scores
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import writers


@dataclass(frozen=True)
class EAPSettings:
    """Edge attribution patching has no settings."""


def eap(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: EAPSettings,
    key: jax.Array,
) -> Scores:
    """The effect of cutting each edge, to first order at the clean run.

    The effect is the derivative of the metric by the reader's input, times the writer's
    replacement minus its output, summed over positions and features and averaged over inputs.
    Source: Syed et al. 2023 (arXiv:2310.10348).
    """
    clean = np.ones(len(writers(model.config.n_layers, model.config.n_heads)))
    return edge_slopes(model, data, metric, [clean], "of_clean_run")
