"""Learning rates and clipping, measured from the steps taken."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interpbench_jax.cases import Recipe
from interpbench_jax.training.optimizer import make_optimizer

STEPS = 5


def steps_taken(recipe: Recipe, losses: list[float]) -> np.ndarray:
    """Return the rate of each step; as the gradient is constant, Adam's step equals the rate."""
    optimizer = make_optimizer(recipe, STEPS)
    weights, gradient = {"w": jnp.zeros(2)}, {"w": jnp.asarray([0.3, -0.4])}
    state, taken = optimizer.init(weights), []
    for loss in losses:
        change, state = optimizer.update(gradient, state, weights, value=jnp.float32(loss))
        (step,) = map(np.asarray, jax.tree.leaves(change))
        np.testing.assert_allclose(-step[0], step[1], rtol=1e-4, atol=1e-9)
        taken.append(-float(step[0]))
    return np.asarray(taken)


@pytest.mark.slow
def test_a_constant_rate() -> None:
    recipe = Recipe(schedule="none", learning_rate=0.01)
    np.testing.assert_allclose(steps_taken(recipe, [1.0] * 12), 0.01, rtol=1e-4)


def test_a_linear_rate_falls_to_zero() -> None:
    recipe = Recipe(schedule="linear", learning_rate=0.01, epochs=3)
    n = 3 * STEPS
    expected = 0.01 * (1 - np.arange(n + 2) / n).clip(0)
    np.testing.assert_allclose(steps_taken(recipe, [1.0] * (n + 2)), expected, rtol=1e-3, atol=1e-8)
    assert expected[-2] == 0


@pytest.mark.slow
def test_a_plateau_halves_the_rate() -> None:
    recipe = Recipe(schedule="plateau", learning_rate=0.01)
    by_epoch = steps_taken(recipe, [1.0] * (STEPS * 9)).reshape(9, STEPS)
    # The first epoch sets the best loss; every three epochs without a fall halve the rate.
    last = by_epoch[:, -2]
    np.testing.assert_allclose(last, [0.01] * 4 + [0.005] * 3 + [0.0025] * 2, rtol=1e-3)


@pytest.mark.slow
def test_a_falling_loss_is_no_plateau() -> None:
    recipe = Recipe(schedule="plateau", learning_rate=0.01)
    losses = [1 / (1 + step // STEPS) for step in range(STEPS * 9)]
    np.testing.assert_allclose(steps_taken(recipe, losses), 0.01, rtol=1e-3)


@pytest.mark.parametrize(("limit", "norm"), [(0.1, 0.1), (10.0, 0.5)])
def test_clipping(limit: float, norm: float) -> None:
    recipe = Recipe(clip_grad_norm=limit, betas=(0.75, 0.99))
    optimizer = make_optimizer(recipe, STEPS)
    weights = {"w": jnp.zeros(2)}
    gradient = {"w": jnp.asarray([0.3, -0.4])}  # of norm 0.5
    _, state = optimizer.update(gradient, optimizer.init(weights), weights, value=jnp.float32(1))
    first_moment = optax.tree_utils.tree_get(state, "mu")["w"]
    expected = (1 - 0.75) * norm * np.asarray([0.6, -0.8])
    np.testing.assert_allclose(first_moment, expected, rtol=1e-5)
