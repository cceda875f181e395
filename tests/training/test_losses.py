"""The losses by hand, at a perfect model, and which outputs they have no gradient in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import build_model
from interpbench_jax.config import TransformerConfig
from interpbench_jax.model import Transformer
from interpbench_jax.training.interchange import run
from interpbench_jax.training.losses import (
    behavior_loss,
    interchange_loss,
    output_loss,
    strict_loss,
)
from interpbench_jax.weights import weight_shapes
from tests.fixtures import random_weights, tiny_config


def test_cross_entropy_by_hand() -> None:
    logits = np.random.default_rng(0).standard_normal((3, 4, 5))
    targets = np.random.default_rng(1).integers(0, 5, (3, 4))
    terms = [
        np.log(np.exp(logits[row, pos]).sum()) - logits[row, pos, targets[row, pos]]
        for row in range(3)
        for pos in (1, 2, 3)  # position 0 is BOS
    ]
    found = output_loss(jnp.asarray(logits, jnp.float32), jnp.asarray(targets, jnp.int32))
    np.testing.assert_allclose(found, np.mean(terms), rtol=1e-5)


def test_squared_error_by_hand() -> None:
    logits = jnp.asarray([[[100.0], [1.0], [2.0]], [[100.0], [0.0], [4.0]]])
    targets = jnp.asarray([[0.0, 0.5, 2.0], [0.0, 1.0, 1.0]])
    assert float(output_loss(logits, targets)) == (0.25 + 0 + 1 + 9) / 4


def entropies(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Cross-entropy at every position."""
    rows = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return -np.log(np.take_along_axis(rows, targets[..., None], axis=-1)[..., 0])


@pytest.fixture
def outputs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 6, 5)), rng.integers(0, 5, (3, 6)).astype(np.int32)


def loss_of(
    logits: np.ndarray, targets: np.ndarray, weights: tuple[float, ...] | None = None
) -> float:
    return float(output_loss(jnp.asarray(logits, jnp.float32), jnp.asarray(targets), weights))


@pytest.mark.parametrize(
    "weights",
    [
        (0.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        (1.0, 1.0, 1.0, 1.0, 1.0, 10.0),
        (0.0, 0.0, 0.5, 0.0, 3.0, 0.25),
        (2.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_a_weighted_mean(
    outputs: tuple[np.ndarray, np.ndarray], weights: tuple[float, ...]
) -> None:
    logits, targets = outputs
    expected = np.average(entropies(logits, targets).mean(axis=0), weights=weights)
    assert loss_of(logits, targets, weights) == pytest.approx(expected, rel=1e-5)
    scaled = tuple(7 * weight for weight in weights)
    assert loss_of(logits, targets, scaled) == pytest.approx(expected, rel=1e-5)
    numbers = targets.astype(np.float32)
    squares = ((logits[..., 0] - numbers) ** 2).mean(axis=0)
    found = loss_of(logits[..., :1], numbers, weights)
    assert found == pytest.approx(np.average(squares, weights=weights), rel=1e-5)


def test_all_but_the_first_alike_by_default(outputs: tuple[np.ndarray, np.ndarray]) -> None:
    assert loss_of(*outputs) == loss_of(*outputs, (0.0, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert loss_of(*outputs) != loss_of(*outputs, (1.0,) * 6)


def test_the_last_position_only(outputs: tuple[np.ndarray, np.ndarray]) -> None:
    logits, targets = outputs
    weights = (0.0,) * 5 + (1.0,)
    expected = entropies(logits, targets)[:, -1].mean()
    assert loss_of(logits, targets, weights) == pytest.approx(expected, rel=1e-5)
    gradient = jax.grad(output_loss)(jnp.asarray(logits, jnp.float32), targets, weights)
    assert not np.asarray(gradient)[:, :-1].any() and np.asarray(gradient)[:, -1].all()


@pytest.mark.parametrize("n_last", [1, 2, 3])
def test_logits_of_the_last_positions_alone(
    outputs: tuple[np.ndarray, np.ndarray], n_last: int
) -> None:
    logits, targets = outputs
    for weights in ((0.0,) * 5 + (1.0,), (0.0,) * (6 - n_last) + (1.0, 2.0, 4.0)[-n_last:]):
        whole = loss_of(logits, targets, weights)
        assert loss_of(logits[:, -n_last:], targets, weights) == pytest.approx(whole, rel=1e-6)
    numbers = targets.astype(np.float32)
    whole = loss_of(logits[..., :1], numbers, weights)
    assert loss_of(logits[:, -n_last:, :1], numbers, weights) == pytest.approx(whole, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("weights", [None, (0.0, 0.0, 0.0, 0.0, 0.0, 1.0), (1.0,) * 5 + (10.0,)])
def test_every_loss_takes_weights(weights: tuple[float, ...] | None) -> None:
    config = tiny_config()
    model = build_model(config, random_weights(config))
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 7, (4, 6), np.int32))
    targets = tokens % 5
    plain, own = output_loss(model(tokens), targets, weights), run(model, tokens)
    nothing, every = jnp.zeros((4, 2, 4), bool), jnp.ones((4, 2, 4), bool)
    found = [behavior_loss(model, tokens, targets, weights)]
    for loss in (interchange_loss, strict_loss):
        found.append(loss(model, tokens, own.values, nothing, targets, weights))
        # With all of its own values a run is itself.
        found.append(loss(model, tokens, own.values, every, targets, weights))
    np.testing.assert_allclose(found, float(plain), rtol=1e-5)


@pytest.mark.slow
def test_classes_that_stacking_adds_change_nothing() -> None:
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4)), jnp.float32)
    targets = jnp.asarray([[0, 1, 2], [0, 3, 3]], jnp.int32)
    more = jnp.concatenate([logits, jnp.full((2, 3, 2), -jnp.inf)], axis=-1)
    np.testing.assert_allclose(output_loss(more, targets), output_loss(logits, targets), rtol=1e-6)
    gradient = jax.grad(output_loss)(more, targets)
    np.testing.assert_allclose(gradient[..., :4], jax.grad(output_loss)(logits, targets), atol=1e-7)
    assert not np.asarray(gradient[..., 4:]).any()


def make_perfect(config: TransformerConfig) -> Transformer:
    """A model that says which token stands at each position; heads and MLPs write nothing."""
    weights = {name: np.zeros(shape, np.float32) for name, shape in weight_shapes(config).items()}
    weights["embed.W_E"][:, : config.d_vocab] = np.eye(config.d_vocab)
    weights["unembed.W_U"][: config.d_vocab] = 1000 * np.eye(config.d_vocab)
    return build_model(config, weights)


def test_zero_at_a_perfect_model() -> None:
    model = make_perfect(tiny_config(d_vocab_out=7))
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 7, (4, 6), np.int32))
    values = run(model, jnp.roll(tokens, 1, axis=0)).values
    mask = jnp.ones((4, 2, 4), bool)
    assert float(behavior_loss(model, tokens, tokens)) == 0
    assert float(interchange_loss(model, tokens, values, mask, tokens)) == 0
    assert float(strict_loss(model, tokens, values, mask, tokens)) == 0
    assert float(behavior_loss(model, tokens, (tokens + 1) % 7)) == 1000
