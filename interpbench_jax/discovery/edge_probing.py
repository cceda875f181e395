"""Subnetwork probing of edges: a mask with a gate for every edge, learned."""

import jax

from interpbench_jax.discovery.learned_gates import edge_slopes
from interpbench_jax.discovery.method import DiscoveryData, Scores, edge_groups
from interpbench_jax.discovery.probing import ProbingSettings, describe, kept_share, probe
from interpbench_jax.discovery.runs import start_runs
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer


def edge_probing(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: ProbingSettings,
    key: jax.Array,
) -> Scores:
    """How much of each edge is kept by a mask learned to harm little and to keep little.

    Minimises the metric's mean under a hard concrete gate for every edge of the universe, plus
    `lambda_reg` times the mean probability that a gate is not 0. The score is the sigmoid of a
    gate's location, in 0..1. The gate without noise is a function of it that never falls, and is
    0 or 1 for many edges at once, which would rank them all alike; `details` have it.
    Source: Cao et al. 2021 (arXiv:2104.03514); of edges as in InterpBench (Gupta et
    al. 2024, arXiv:2407.14494). There the penalty is a mean over readers of means over their
    edges; here every edge counts the same.
    """
    runs = start_runs(model, data, metric)
    groups = edge_groups(data.edges(model.config))
    n_edges = int(groups.max()) + 1
    learned = probe(settings, n_edges, edge_slopes(runs, groups), runs.dtype, key)
    values = kept_share(learned.parameters)
    return Scores("edge", data.universe, values, describe(settings, learned))
