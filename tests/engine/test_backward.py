"""The written-out derivative, against JAX's of the reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.discovery.attribution import mask_slopes
from interpbench_jax.discovery.method import DiscoveryData
from interpbench_jax.discovery.runs import Runs, start_runs
from interpbench_jax.engine.backward import differentiate
from interpbench_jax.interventions import replacement_outputs, writer_outputs
from interpbench_jax.masks import edge_indices
from interpbench_jax.metrics import METRICS, Metric, MetricName
from interpbench_jax.model import Transformer
from interpbench_jax.universes import universe
from tests.discovery.small import KINDS, full_mask, make_small, mask_metric

METRIC_OF: dict[str, MetricName] = {
    "plain": "cross_entropy",
    "layer norm": "kl",
    "regression": "target_mae",
    "frozen layer norm": "kl",
}
Small = tuple[Transformer, DiscoveryData, Metric]


@pytest.fixture(params=KINDS)
def small(request: pytest.FixtureRequest, x64: None) -> Small:
    return *make_small(request.param), METRICS[METRIC_OF[request.param]]


def slopes(runs: Runs, mask: np.ndarray) -> np.ndarray:
    ((_, found),) = mask_slopes(runs, [(mask, None)], "of_each_run")
    return found


def is_edge(model: Transformer) -> np.ndarray:
    """Which entries of a mask are edges; the reference has a derivative for the others too."""
    config = model.config
    pairs = edge_indices(
        universe("qkv", config.n_layers, config.n_heads).edges, config.n_layers, config.n_heads
    )
    chosen = np.zeros(full_mask(model).shape, bool)
    chosen[tuple(pairs.T)] = True
    return chosen


@pytest.mark.slow
def test_the_derivative_by_any_mask(small: Small) -> None:
    model, data, metric = small
    mask = np.random.default_rng(1).uniform(size=full_mask(model).shape)
    expected = jax.grad(mask_metric(model, data, metric))(jnp.asarray(mask))
    found = slopes(start_runs(model, data, metric), mask)
    where = is_edge(model)
    assert abs(found[where]).max() > 1e-3
    np.testing.assert_allclose(found[where], np.asarray(expected)[where], rtol=0, atol=1e-13)


def test_gates_are_masks_of_equal_columns(small: Small) -> None:
    model, data, metric = small
    gates = np.random.default_rng(2).uniform(size=full_mask(model).shape[1])
    runs = start_runs(model, data, metric)
    where = is_edge(model)
    shared, each = slopes(runs, gates), slopes(runs, np.tile(gates, (len(where), 1)))
    np.testing.assert_allclose(shared[where], each[where], rtol=0, atol=1e-13)


@pytest.mark.slow
def test_the_derivative_by_outputs_is_what_readers_pass_back(small: Small) -> None:
    model, data, metric = small
    runs = start_runs(model, data, metric)

    point = runs.each(differentiate, (), np.ones(full_mask(model).shape[1]))[0]
    for number, bar in enumerate(point.outputs_bar):
        later = np.concatenate(point.inputs_bar[number:]).sum(axis=0)
        np.testing.assert_allclose(bar, np.broadcast_to(later, bar.shape), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_plain_runs(small: Small) -> None:
    model, data, metric = small
    chunk = start_runs(model, data, metric).chunks[0]
    clean, corrupted = (tokens[: len(chunk.share)] for tokens in (data.clean, data.corrupted))
    expected = writer_outputs(model, clean).transpose(2, 3, 1, 0)
    np.testing.assert_allclose(chunk.run.outputs, expected, rtol=0, atol=1e-12)
    logits = chunk.run.logits.transpose(2, 1, 0)
    np.testing.assert_allclose(logits, model(clean), rtol=0, atol=1e-12)
    replaced = replacement_outputs(model, corrupted).transpose(2, 3, 1, 0)
    np.testing.assert_allclose(chunk.replacement, replaced, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_padding_rows_do_not_count(small: Small) -> None:
    model, data, metric = small
    whole = start_runs(model, data, metric)
    filled = start_runs(model, dataclasses.replace(data, batch_size=5), metric)
    mask = full_mask(model) * 0.7
    assert [float(chunk.share.sum()) for chunk in filled.chunks] == [5, 2]
    np.testing.assert_allclose(slopes(whole, mask), slopes(filled, mask), rtol=0, atol=1e-13)
