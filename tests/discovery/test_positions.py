"""Position-aware attribution, against what it says of a plain model."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import (
    Node,
    Objective,
    Pairs,
    Scores,
    Transformer,
    build_model,
    discover,
    run_with_cache,
)
from interpbench_jax.discovery import DiscoveryData, Method
from interpbench_jax.discovery.method import default_metric_of
from interpbench_jax.interventions import run_with_hooks
from interpbench_jax.metrics import METRICS
from interpbench_jax.model.transformer import flat_weights
from interpbench_jax.sites import Kind
from interpbench_jax.universes import universe
from tests.discovery.small import CONFIGS, make_small, small_data, small_model

READERS = {
    Kind.Q_INPUT: "blocks.{}.hook_q_input",
    Kind.K_INPUT: "blocks.{}.hook_k_input",
    Kind.V_INPUT: "blocks.{}.hook_v_input",
    Kind.MLP_IN: "blocks.{}.hook_mlp_in",
    Kind.RESID_POST: "blocks.{}.hook_resid_post",
}


def run(model: Transformer, data: DiscoveryData, name: str, **changes: object) -> Scores:
    pairs = Pairs(
        np.asarray(data.clean), np.asarray(data.corrupted), Objective(targets=data.targets)
    )
    return discover(model, pairs, name, **changes)  # pyright: ignore[reportArgumentType]


def slope_at(model: Transformer, data: DiscoveryData, hook: str) -> np.ndarray:
    """The derivative of the mean metric by an activation of the clean run."""
    metric = METRICS[default_metric_of("loss", model.config)]
    clean = model(data.clean)[:, data.first_scored :]
    shape = jax.eval_shape(lambda: run_with_cache(model, data.clean)[1][hook])

    def of_change(change: jax.Array) -> jax.Array:
        logits = run_with_hooks(model, data.clean, {hook: lambda x: x + change})
        scored = logits[:, data.first_scored :]
        return metric(scored, clean, data.targets[:, data.first_scored :]).mean()

    return np.asarray(jax.grad(of_change)(jnp.zeros(shape.shape, shape.dtype)))


def written(cache: dict[str, jax.Array], node: Node) -> np.ndarray:
    found = np.asarray(cache[str(Node(node.kind, node.layer))])
    return found if node.head is None else found[:, :, node.head]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_an_edge_at_a_position_is_a_product_there(x64: None, kind: str) -> None:
    model, data = make_small(kind)
    found = run(model, data, "peap")
    clean, other = (run_with_cache(model, ids)[1] for ids in (data.clean, data.corrupted))
    slopes: dict[str, np.ndarray] = {}
    wanted = []
    for edge in universe("qkv", model.config.n_layers, model.config.n_heads).edges:
        hook = READERS[edge.dst.kind].format(edge.dst.layer)
        if hook not in slopes:
            slopes[hook] = slope_at(model, data, hook)
        slope = slopes[hook] if edge.dst.head is None else slopes[hook][:, :, edge.dst.head]
        change = written(other, edge.src) - written(clean, edge.src)
        wanted.append((slope * change).sum(axis=(0, 2)))
    assert found.by_position is not None
    np.testing.assert_allclose(found.by_position, wanted, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.values, np.abs(wanted).sum(axis=1), rtol=0, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "layer norm", "frozen layer norm"])
def test_positions_add_up_to_eap(x64: None, kind: str) -> None:
    model, data = make_small(kind)
    changes = {"freeze_layer_norm": data.freeze_layer_norm}
    found = run(model, data, "peap", **changes)
    assert found.by_position is not None
    eap = run(model, data, "eap", **changes)
    np.testing.assert_allclose(found.by_position.sum(axis=1), eap.values, rtol=0, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_crossing_edge_replaces_one_score_or_value(x64: None, kind: str) -> None:
    model, data = make_small(kind)
    found = run(model, data, "peap").details
    config = model.config
    n_pos, is_causal = config.n_ctx, config.attention_dir == "causal"
    is_seen = np.tril(np.ones((n_pos, n_pos), bool)) | (not is_causal)
    clean, other = (run_with_cache(model, ids)[1] for ids in (data.clean, data.corrupted))
    for layer in range(config.n_layers):
        own, new = (
            [np.asarray(cache[f"blocks.{layer}.attn.hook_{name}"]) for name in "qkv"]
            for cache in (clean, other)
        )
        weight = np.asarray(model.blocks[layer].attn.W_O[...])
        slope = slope_at(model, data, f"blocks.{layer}.attn.hook_result")

        def scores(q: np.ndarray, k: np.ndarray) -> np.ndarray:
            products = np.einsum("bihd,bjhd->bhij", q, k) / np.sqrt(q.shape[-1])
            return np.where(is_seen, products, -np.inf)

        def results(scores: np.ndarray, v: np.ndarray, weight: np.ndarray = weight) -> np.ndarray:
            pattern = np.exp(scores - scores.max(axis=-1, keepdims=True))
            pattern /= pattern.sum(axis=-1, keepdims=True)
            return np.einsum("bhij,bjhd,hdm->bihm", pattern, v, weight)

        plain = results(scores(own[0], own[1]), own[2])
        for position in range(n_pos):
            here = np.arange(n_pos) == position
            at_key = here[None, :, None, None]
            cut = {
                kind: results(np.where(here, scores(*changed), scores(own[0], own[1])), own[2])
                for kind, changed in (("q", (new[0], own[1])), ("k", (own[0], new[1])))
            }
            cut["v"] = results(scores(own[0], own[1]), np.where(at_key, new[2], own[2]))
            for kind, patched in cut.items():
                moved = (slope * (patched - plain)).sum(axis=(0, 3))
                np.testing.assert_allclose(
                    found[f"crossing_{kind}"][layer, :, :, position], moved.T, rtol=0, atol=1e-13
                )


def test_a_key_that_takes_all_attention_is_no_trouble(x64: None) -> None:
    """Scores that differ by hundreds neither overflow nor divide by 0."""
    model, data = make_small("plain")
    sharp = {
        name: 40 * weight if name.endswith(("W_Q", "W_K")) else weight
        for name, weight in flat_weights(model).items()
    }
    found = run(build_model(model.config, sharp), data, "peap")
    for name in ("crossing_q", "crossing_k", "crossing_v"):
        assert np.isfinite(found.details[name]).all()
    assert np.abs(found.details["crossing_k"]).max() > 1e-6


@pytest.mark.usefixtures("unchecked")
def test_a_method_of_your_own_is_checked_for_positions() -> None:
    model = small_model(CONFIGS["plain"])
    data = small_data(model)
    n_edges = len(universe("qkv", model.config.n_layers, model.config.n_heads).edges)

    def method_with(places: np.ndarray) -> Callable[..., Scores]:
        def mine(*_: object) -> Scores:
            return Scores("edge", "qkv", np.arange(n_edges, dtype=float), by_position=places)

        return mine

    good = np.zeros((n_edges, model.config.n_ctx))
    assert run(model, data, Method(method_with(good), None)).by_position is good  # pyright: ignore
    for bad in (good[:, :-1], good[:-1], np.full_like(good, np.nan)):
        with pytest.raises(ValueError, match=r"one finite score for each of the .* edges at"):
            run(model, data, Method(method_with(bad), None))  # pyright: ignore[reportArgumentType]
