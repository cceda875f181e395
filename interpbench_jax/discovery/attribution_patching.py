"""Attribution patching of nodes."""

from dataclasses import dataclass

import jax

from interpbench_jax.discovery.method import DiscoveryData, Scores
from interpbench_jax.discovery.node_effects import node_effects
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer


@dataclass(frozen=True)
class AttributionPatchingSettings:
    """Attribution patching has no settings."""


def attribution_patching(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: AttributionPatchingSettings,
    key: jax.Array,
) -> Scores:
    """The effect of replacing each node's output, to first order at the clean run.

    The effect is the derivative of the metric by the node's output, times its replacement minus
    its output, summed over positions and features and averaged over inputs; in the metric's unit,
    positive where replacing hurts. It is the sum of the EAP scores of the node's outgoing edges.
    Source: Nanda 2023, "Attribution Patching: Activation Patching At Industrial Scale"; nodes as
    in Syed et al. 2023 (arXiv:2310.10348).
    """
    return Scores("node", data.universe, node_effects(model, data, metric).mean(axis=1))
