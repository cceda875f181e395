"""Subnetwork probing of edges: a learned mask with one gate for every edge."""

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
    """How much of each edge is kept by a mask learned to be both sparse and harmless.

    The learned gates minimize the metric's mean under a hard concrete gate for every edge of the
    universe, plus `lambda_reg` times the mean probability that a gate is not 0. The score is the
    sigmoid of a gate's location, in 0..1. The gate without noise is a non-decreasing function of
    that score, but is exactly 0 or 1 for many edges at once, which would tie them; it is in
    `details`.
    Source: Cao et al. 2021 (arXiv:2104.03514); applied to edges as in InterpBench (Gupta et
    al. 2024, arXiv:2407.14494). There, the penalty is the mean over readers of the means over
    their edges; here, every edge counts the same.
    """
    runs = start_runs(model, data, metric)
    groups = edge_groups(data.edges(model.config))
    n_edges = int(groups.max()) + 1
    learned = probe(settings, n_edges, edge_slopes(runs, groups), runs.dtype, key)
    values = kept_share(learned.parameters)
    return Scores("edge", data.universe, values, describe(settings, learned))
