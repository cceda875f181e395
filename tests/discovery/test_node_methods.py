"""Methods that score nodes by derivatives, against JAX's of the reference."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import build_model, run_with_hooks
from interpbench_jax.discovery.atp_star import AtPStarSettings, atp_star
from interpbench_jax.discovery.attribution_patching import (
    AttributionPatchingSettings,
    attribution_patching,
)
from interpbench_jax.discovery.eap import EAPSettings, eap
from interpbench_jax.discovery.hisp import HISPSettings, hisp
from interpbench_jax.discovery.method import DiscoveryData, edge_groups
from interpbench_jax.interventions import masked_forward, replacement_outputs, writer_outputs
from interpbench_jax.metrics import METRICS, Metric
from interpbench_jax.model import Transformer
from interpbench_jax.sites import Kind, writers
from interpbench_jax.targets import Targets
from tests.discovery.small import CONFIGS, full_mask, mask_metric, small_data, small_model
from tests.fixtures import random_weights, tiny_config

KEY = jax.random.key(0)
Small = tuple[Transformer, DiscoveryData, Metric]


@pytest.fixture(params=CONFIGS)
def small(request: pytest.FixtureRequest, x64: None) -> Small:
    model = small_model(CONFIGS[request.param], np.float64)
    name = "target_mae" if model.config.is_regression else "cross_entropy"
    return model, small_data(model, batch_size=4), METRICS[name]


@pytest.mark.slow
def test_attribution_patching_sums_eap_over_readers(small: Small) -> None:
    model, data, metric = small
    found = attribution_patching(model, data, metric, AttributionPatchingSettings(), KEY)
    edges = eap(model, data, metric, EAPSettings(), KEY)
    space = data.edges(model.config)
    wanted = [
        sum(
            value for edge, value in zip(space.edges, edges.values, strict=True) if edge.src == node
        )
        for node in space.sources
    ]
    np.testing.assert_allclose(found.values, wanted, atol=1e-12)


def effects_by_hand(model: Transformer, data: DiscoveryData, metric: Metric) -> np.ndarray:
    """First-order effects, `[batch, src]`."""
    replacement = replacement_outputs(model, data.corrupted)
    clean = model(data.clean)[:, data.first_scored :]

    def of_mask(mask: jax.Array) -> jax.Array:
        logits = masked_forward(model, data.clean, mask, replacement)
        return metric(logits[:, data.first_scored :], clean, data.targets[:, data.first_scored :])

    slopes = np.asarray(jax.jacobian(of_mask)(jnp.asarray(full_mask(model))))
    is_edge = edge_groups(data.edges(model.config)) >= 0
    return -(slopes * is_edge).sum(axis=1)


@pytest.mark.slow
def test_hisp_by_hand(small: Small) -> None:
    model, data, metric = small
    wanted = np.abs(effects_by_hand(model, data, metric)).mean(axis=0)
    found = hisp(model, data, metric, HISPSettings(normalize=False), KEY)
    np.testing.assert_allclose(found.values, wanted, atol=1e-12)
    found = hisp(model, data, metric, HISPSettings(), KEY)
    n_heads = model.config.n_heads
    layer = slice(2 + n_heads + 1, 2 + 2 * (n_heads + 1))
    np.testing.assert_allclose(
        found.values[layer], wanted[layer] / np.linalg.norm(wanted[layer]), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.norm(found.values[:2]), 1)


def test_merged_embeddings_are_one_node(small: Small) -> None:
    model, data, metric = small
    merged = small_data(model, universe="qkv-merged")
    effects = effects_by_hand(model, data, metric)
    wanted = np.abs(effects[:, 0] + effects[:, 1]).mean()
    found = hisp(model, merged, metric, HISPSettings(normalize=False), KEY)
    np.testing.assert_allclose(found.values[0], wanted, atol=1e-12)


def test_without_its_two_changes_atp_star_is_attribution_patching(small: Small) -> None:
    model, data, metric = small
    plain = AtPStarSettings(qk_fix=False, grad_drop=False)
    found = atp_star(model, data, metric, plain, KEY)
    wanted = attribution_patching(model, data, metric, AttributionPatchingSettings(), KEY)
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-12)


@pytest.mark.slow
def test_grad_drop_by_hand(small: Small) -> None:
    model, data, metric = small
    config = model.config
    if config.n_layers == 1:
        plain = attribution_patching(model, data, metric, AttributionPatchingSettings(), KEY)
        found = atp_star(model, data, metric, AtPStarSettings(qk_fix=False), KEY)
        np.testing.assert_allclose(found.values, plain.values, atol=1e-12)
        return
    found = atp_star(model, data, metric, AtPStarSettings(qk_fix=False), KEY)
    change = replacement_outputs(model, data.corrupted) - writer_outputs(model, data.clean)
    clean = model(data.clean)[:, data.first_scored :]
    nodes = writers(config.n_layers, config.n_heads)
    stops = [
        {
            f"blocks.{layer}.hook_{name}": jax.lax.stop_gradient
            for name in ("q_input", "k_input", "v_input", "mlp_in")
        }
        for layer in range(config.n_layers)
    ]

    def add(delta: jax.Array) -> Callable[[jax.Array], jax.Array]:
        return lambda written: written + delta

    def of_deltas(
        deltas: jax.Array, stop: dict[str, Callable[[jax.Array], jax.Array]]
    ) -> jax.Array:
        hooks = {str(node): add(deltas[:, :, i]) for i, node in enumerate(nodes)} | stop
        logits = run_with_hooks(model, data.clean, hooks)[:, data.first_scored :]
        return metric(logits, clean, data.targets[:, data.first_scored :]).sum()

    by_layer = []
    for stop in stops:
        slopes = jax.grad(of_deltas)(jnp.zeros_like(change), stop)
        by_layer.append(np.abs((slopes * change).sum(axis=(1, 3))).mean(axis=0))
    np.testing.assert_allclose(found.details["effects_by_dropped_layer"], by_layer, atol=1e-12)
    scale = config.n_layers / (config.n_layers - 1)
    np.testing.assert_allclose(found.values, np.mean(by_layer, axis=0) * scale, atol=1e-12)


def linear_metric(logits: jax.Array, clean: jax.Array, targets: Targets) -> jax.Array:
    weights = jnp.cos(jnp.arange(logits[0].size, dtype=logits.dtype)).reshape(1, *logits[0].shape)
    return ((logits - clean) * weights).sum(axis=(1, 2))


@pytest.mark.slow
def test_the_qk_fix_is_exact_where_all_that_follows_is_linear(x64: None) -> None:
    config = tiny_config(n_layers=1)
    weights = random_weights(config, np.float64, seed=1)
    weights["blocks.0.mlp.W_out"] = np.zeros_like(weights["blocks.0.mlp.W_out"])
    model = build_model(config, weights)
    data = small_data(model)
    of_mask = mask_metric(model, data, linear_metric)
    groups = edge_groups(data.edges(config))
    space = data.edges(config)
    found = atp_star(model, data, linear_metric, AtPStarSettings(), KEY)
    for number, node in enumerate(space.sources[:2]):
        wanted = 0.0
        for kind in (Kind.Q_INPUT, Kind.K_INPUT, Kind.V_INPUT, Kind.RESID_POST):
            cut = [
                space.edges.index(edge)
                for edge in space.edges
                if edge.src == node and edge.dst.kind is kind
            ]
            mask = np.where(np.isin(groups, cut), 0.0, 1.0)
            wanted += float(of_mask(jnp.asarray(mask)))
        assert found.values[number] == pytest.approx(wanted, abs=1e-12)
    linear = atp_star(model, data, linear_metric, AtPStarSettings(qk_fix=False), KEY)
    assert abs(linear.values[0] - found.values[0]) > 1e-4
    np.testing.assert_allclose(linear.values[2:], found.values[2:], atol=1e-12)


@pytest.mark.slow
def test_the_qk_fix_reads_through_layer_norm(x64: None) -> None:
    model = small_model(CONFIGS["layer norm"], np.float64)
    # Replacements so close to the outputs that higher orders are negligible.
    near = np.asarray(writer_outputs(model, small_data(model).clean).mean(axis=0, keepdims=True))
    data = small_data(model, n_inputs=1)
    outputs = np.asarray(writer_outputs(model, data.clean))
    data = small_data(model, n_inputs=1, constants=outputs + 1e-6 * (near - outputs))
    metric = METRICS["cross_entropy"]
    fixed = atp_star(model, data, metric, AtPStarSettings(grad_drop=False), KEY)
    plain = attribution_patching(model, data, metric, AttributionPatchingSettings(), KEY)
    np.testing.assert_allclose(fixed.values, plain.values, atol=1e-5 * abs(plain.values).max())
