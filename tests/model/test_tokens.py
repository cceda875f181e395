"""Token ids out of range: an error where they are concrete, NaN where they are traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import build_model
from interpbench_jax.model import Transformer
from tests.fixtures import random_weights, tiny_config


def model_of(d_vocab: int) -> Transformer:
    config = tiny_config(d_vocab=d_vocab)
    return build_model(config, random_weights(config, np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("d_vocab", [5, 100])  # small vocabularies use another lookup
@pytest.mark.parametrize("wrong", [-1, 100, 2**31 - 1])
def test_ids_that_the_model_lacks(d_vocab: int, wrong: int) -> None:
    model = model_of(d_vocab)
    tokens = np.asarray([[0, 1, 2, 3], [0, 1, wrong, 3]], np.int32)
    with pytest.raises(ValueError, match=f"Expected token ids from 0 to {d_vocab - 1}"):
        model(tokens)
    for run in (jax.jit(model), jax.vmap(lambda row: model(row[None])[0])):
        logits = run(jnp.asarray(tokens))
        np.testing.assert_allclose(logits[0], model(tokens[:1])[0], rtol=1e-5, atol=1e-6)
        # The whole input is NaN, because attention multiplies masked positions by 0.
        assert jnp.isnan(logits[1]).all()


def test_gradients_of_right_ids_are_as_before() -> None:
    model = model_of(5)
    tokens = jnp.asarray([[0, 1, 2, 3]])
    gradient = jax.jit(jax.grad(lambda model: (model(tokens) ** 2).sum()))(model)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
