"""Subnetwork probing of nodes: learned gates on heads' queries, keys, values and MLP outputs."""

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
    """How much of each node is kept by gates learned to be both sparse and harmless.

    Every head has one gate each on its queries, keys and values, and every MLP has one on its
    output; a gate of 0 replaces them by their values in a run in which everything is replaced.
    Without layer norm, this equals a mask in which each edge is its reader's gate times its
    writer's gate. The gates minimize the metric's mean plus `lambda_reg` times the mean
    probability that a gate is not 0.

    A gate's score is the sigmoid of its location, in 0..1, because gates without noise (in
    `details`) tie at 0 and at 1. A head's score is the largest of its three gates' scores, and an
    MLP's score is that of its gate. The embeddings have no gate: they are always kept and score 1.
    Source: Cao et al. 2021 (arXiv:2104.03514); gates on nodes as in the comparison of
    Conmy et al. 2023 (arXiv:2304.14997). There, the penalty is the mean over each layer's queries,
    keys, values and MLP of the means over heads; here, every gate counts the same.
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
