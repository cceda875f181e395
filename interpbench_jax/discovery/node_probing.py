"""Subnetwork probing of nodes: gates on what heads read and on what MLPs write, learned."""

import jax
import numpy as np
from jaxtyping import Float

from interpbench_jax.discovery.learned_gates import Gates, Slopes
from interpbench_jax.discovery.method import DiscoveryData, Scores
from interpbench_jax.discovery.probing import ProbingSettings, describe, kept_share, probe
from interpbench_jax.discovery.runs import Runs, start_runs
from interpbench_jax.engine.gated import gated_run, replaced_values
from interpbench_jax.layout import Layout
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import Kind, Node


def node_probing(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: ProbingSettings,
    key: jax.Array,
) -> Scores:
    """How much of each node is kept by gates learned to harm little and to keep little.

    Every head has a gate on its queries, one on its keys and one on its values, and every MLP one
    on its output; a gate of 0 gives their values in a run in which everything is replaced.
    Without layer norm that is a mask whose edges have the gate of their reader times that of
    their writer. The metric's mean is minimised, plus `lambda_reg` times the mean probability
    that a gate is not 0.

    A head's score is the largest of its three gates', an MLP's its gate's: the sigmoid of the
    gate's location, in 0..1, since the gates without noise (in `details`) tie at 0 and at 1. The
    embeddings have no gate and the score 1: they are always kept.
    Source: Cao et al. 2021 (arXiv:2104.03514); gates on nodes as in the comparison of
    Conmy et al. 2023 (arXiv:2304.14997). There the penalty is a mean over
    the queries, keys, values and MLP of each layer of means over heads; here every gate counts
    the same.
    """
    runs = start_runs(model, data, metric)
    layout = runs.layout
    shape = (layout.n_layers, layout.readers_of_layer)
    n_gates = shape[0] * shape[1]
    learned = probe(settings, n_gates, _slopes(runs, shape), runs.dtype, key)
    kept = kept_share(learned.parameters.reshape(shape))
    values = [_score(node, kept, layout) for node in data.edges(model.config).sources]
    return Scores("node", data.universe, np.asarray(values), describe(settings, learned))


def _slopes(runs: Runs, shape: tuple[int, int]) -> Slopes:
    replaced = runs.each(replaced_values, ())

    def slopes(gates: Gates) -> tuple[float, Gates]:
        value, bars = runs.mean(gated_run, (), replaced, gates.reshape(shape))
        return float(value), bars.reshape(-1)

    return slopes


def _score(node: Node, kept: Float[np.ndarray, "layers gates"], layout: Layout) -> float:
    if node.kind is Kind.HEAD:
        return float(kept[node.layer, list(layout.readers_of_head(0, node.head))].max())
    return float(kept[node.layer, -1]) if node.kind is Kind.MLP_OUT else 1.0
