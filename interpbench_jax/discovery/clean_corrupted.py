"""Edge attribution with the derivatives in the clean and in the corrupted run."""

from dataclasses import dataclass

import jax
import numpy as np

from interpbench_jax.discovery.attribution import edge_slopes
from interpbench_jax.discovery.method import DiscoveryData, Scores
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import writers


@dataclass(frozen=True)
class CleanCorruptedSettings:
    """The method has no settings."""


def clean_corrupted(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: CleanCorruptedSettings,
    key: jax.Array,
) -> Scores:
    """EAP with the mean of the derivatives in the clean run and in the corrupted run.

    The corrupted run is the one whose embeddings are their replacements.
    Source: Hanna et al. 2024 (arXiv:2403.17806), "clean-corrupted".
    """
    clean = np.ones(len(writers(model.config.n_layers, model.config.n_heads)))
    corrupted = clean.copy()
    corrupted[:2] = 0
    return edge_slopes(model, data, metric, [clean, corrupted], "of_clean_run")
