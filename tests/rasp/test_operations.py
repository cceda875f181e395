"""The operations of heads and MLPs on rows, with results worked out by hand."""

import jax.numpy as jnp
import numpy as np

from interpbench_jax.rasp import operations

EYE = jnp.eye(2)[None]
ALL_VISIBLE = jnp.ones((1, 2, 2), bool)
NO_BOS = jnp.zeros((1, 2))


def test_attention_is_a_mean_over_what_is_selected() -> None:
    pattern = operations.attention_pattern(EYE, EYE, jnp.ones((2, 2)), NO_BOS, ALL_VISIBLE)
    np.testing.assert_allclose(pattern, np.full((1, 2, 2), 0.5))
    one = operations.attention_pattern(EYE, EYE, jnp.eye(2), NO_BOS, ALL_VISIBLE)
    np.testing.assert_allclose(one, EYE, atol=1e-30)


def test_nothing_selected_falls_on_bos() -> None:
    bos = jnp.asarray([[0.5, 0.0]])
    nothing = operations.attention_pattern(EYE, EYE, jnp.zeros((2, 2)), bos, ALL_VISIBLE)
    np.testing.assert_allclose(nothing, [[[1, 0], [1, 0]]], atol=1e-20)
    # A missing query selects nothing either.
    zeros = jnp.zeros((1, 2, 2))
    missing = operations.attention_pattern(EYE, zeros, jnp.ones((2, 2)), bos, ALL_VISIBLE)
    np.testing.assert_allclose(missing, nothing, atol=1e-20)


def test_what_is_not_visible_is_not_attended_to() -> None:
    causal = jnp.asarray([[[True, False], [True, True]]])
    pattern = operations.attention_pattern(EYE, EYE, jnp.ones((2, 2)), NO_BOS, causal)
    np.testing.assert_allclose(pattern, [[[1, 0], [0.5, 0.5]]])


def test_look_ups_pass_on_what_is_missing_or_mixed() -> None:
    rows = jnp.asarray([[[1.0, 0.0], [0.0, 0.0], [0.5, 0.5]]])
    table = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    expected = [[[1, 0, 0], [0, 0, 0], [0.5, 0.5, 0]]]
    np.testing.assert_allclose(operations.look_up(rows, table), expected)


def test_pairs_are_present_by_relu_of_their_sum_less_one() -> None:
    first = jnp.asarray([[[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]])
    second = jnp.asarray([[[0.0, 1.0], [0.0, 0.0], [0.75, 0.25]]])
    table = jnp.arange(4.0).reshape(2, 2, 1) + 1
    expected = [[[2], [0], [0.25 * 1 + 0.25 * 3]]]
    np.testing.assert_allclose(operations.look_up_pair(first, second, table), expected)


def test_numbers_fall_on_steps_and_thresholds_belong_to_the_lower() -> None:
    numbers = jnp.asarray([[[-9.0], [0.5], [0.51], [9.0]]])
    for n_steps in (1, 100):
        thresholds = jnp.asarray([0.5, *range(10, 9 + n_steps)], jnp.float32)
        table = jnp.arange(len(thresholds) + 1, dtype=jnp.float32)[:, None]
        found = operations.look_up_number(numbers, thresholds, table)
        np.testing.assert_array_equal(found, [[[0], [0], [1], [1]]])
