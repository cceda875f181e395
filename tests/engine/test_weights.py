"""The weights of a model on a device, which are kept between calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import Transformer, build_model, sweep_edges
from interpbench_jax.engine import weights as engine_weights
from interpbench_jax.engine.weights import device_weights, stack_weights
from tests.fixtures import random_weights, tiny_config

CONFIG = tiny_config(n_heads=2, d_model=4, d_head=2, d_vocab=6, d_vocab_out=3, n_ctx=3)


@pytest.fixture
def model() -> Transformer:
    return build_model(CONFIG, random_weights(CONFIG, seed=3))


def test_they_are_kept_and_equal_those_of_the_host(model: Transformer) -> None:
    kept = device_weights(model, 3)
    assert device_weights(model, 3) is kept
    assert device_weights(model, 2) is not kept
    assert all(isinstance(array, jax.Array) for array in kept)
    jax.tree.map(np.testing.assert_array_equal, kept, stack_weights(model, 3))


def test_a_changed_model_has_other_weights(model: Transformer) -> None:
    drawn = np.random.default_rng(0).integers(0, CONFIG.d_vocab, (2, 5, 3)).astype(np.int32)
    before, effects = device_weights(model, 3), sweep_edges(model, *drawn).effects
    model.unembed.W_U[...] = 2 * model.unembed.W_U[...]
    after = device_weights(model, 3)
    np.testing.assert_array_equal(after.unembed, 2 * jnp.asarray(before.unembed))
    fresh = build_model(
        CONFIG, random_weights(CONFIG, seed=3) | {"unembed.W_U": np.asarray(model.unembed.W_U[...])}
    )
    changed = sweep_edges(model, *drawn).effects
    assert (changed != effects).any()
    np.testing.assert_array_equal(changed, sweep_edges(fresh, *drawn).effects)


def test_they_follow_the_precision_that_is_allowed() -> None:
    with jax.enable_x64(True):
        model = build_model(CONFIG, random_weights(CONFIG, np.float64, seed=3))
        assert device_weights(model, 3).embed.dtype == np.float64
    assert device_weights(model, 3).embed.dtype == np.float32


def test_those_of_large_models_are_not_kept(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_weights, "_MOST_KEPT_BYTES", 10)
    assert device_weights(model, 3) is not device_weights(model, 3)
