"""Relevance patching of edges."""

from dataclasses import dataclass

import jax
import numpy as np

from interpbench_jax.discovery.attribution import edge_slopes
from interpbench_jax.discovery.method import DiscoveryData, Scores
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import writers


@dataclass(frozen=True)
class RelPSettings:
    """Relevance patching has no settings."""


def relp(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: RelPSettings,
    key: jax.Array,
) -> Scores:
    """The effect of cutting each edge, by layer-wise relevance propagation from the clean run.

    As `eap`, but two things go back differently. A layer norm's divisor counts as a constant (the
    LN-rule), and an activation function passes its output over its input rather than its derivative
    (the identity-rule), so that a unit that is off, or saturated, still counts. ReLU is left as it
    is. Attention passes its derivative, as in the authors' code by default: with the pattern as a
    constant (the AH-rule), no query and no key would score.
    Source: Rezaei Jafari et al. 2025 (arXiv:2508.21258), and its code's `lrp_utils.py`.
    """
    clean = np.ones(len(writers(model.config.n_layers, model.config.n_heads)))
    return edge_slopes(model, data, metric, [clean], "of_clean_run", "relevance")
