"""Metrics: answers worked out by hand, laws and refused arguments."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy

from interpbench_jax import build_model, discover, sweep_edges
from interpbench_jax.axes import Logits
from interpbench_jax.config import TransformerConfig
from interpbench_jax.metrics import (
    METRIC_NAMES,
    METRICS,
    MetricName,
    PerInput,
    by_class,
    default_metric,
    kl_divergence,
    resolve_metric,
)
from interpbench_jax.objective import Objective
from interpbench_jax.targets import UNSCORED, Targets, clean_targets
from tests.fixtures import random_weights, tiny_config

each_metric = pytest.mark.parametrize("name", METRIC_NAMES)
NEED_CLASSES = ("kl", "cross_entropy", "logit_diff", "accuracy")
# The rounding error of float32 sums of a few numbers of order ten.
ATOL = 1e-5
# JAX takes milliseconds for each small operation.
few = settings(max_examples=20)

seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([0.01, 1.0, 10.0])


def draw(
    seed: int, scale: float = 1.0, dtype: np.typing.DTypeLike = np.float32
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw logits, clean logits and targets: four inputs, three positions and five classes."""
    rng = np.random.default_rng(seed)
    logits, clean = (scale * rng.standard_normal((2, 4, 3, 5))).astype(dtype)
    return jnp.asarray(logits), jnp.asarray(clean), jnp.asarray(rng.integers(0, 5, (4, 3)), "int32")


# One input of two positions. In the second, nothing changes, so every mean is half of the first.
# p_clean = (1/4, 3/4), p_patched = (1/2, 1/2).
TWO_CLASSES = ([[0, 0], [1, 2]], [[0, math.log(3)], [1, 2]], [1, 1])
# Three outputs: margins of class 1 are 4 - 2 = 2 before and 1 - 3 = -2 after.
THREE_CLASSES = ([[3, 1, 0], [0, 9, 0]], [[1, 4, 2], [0, 9, 0]], [1, 1])


@pytest.mark.parametrize(
    ("name", "example", "expected"),
    [
        ("kl", TWO_CLASSES, (math.log(1 / 2) / 4 + math.log(3 / 2) * 3 / 4) / 2),
        ("cross_entropy", TWO_CLASSES, (math.log(3 / 4) - math.log(1 / 2)) / 2),
        ("mse", THREE_CLASSES, (2**2 + 3**2 + 2**2) / 3 / 2),
        # Clean outputs are 1 and 0, patched ones 3 and 0, and both targets are 1.
        ("target_mae", ([[3], [0]], [[1], [0]], [1, 1]), (2 + 0) / 2),
        ("l2", THREE_CLASSES, math.sqrt(2**2 + 3**2 + 2**2) / 2),
        ("mae", THREE_CLASSES, (2 + 3 + 2) / 3 / 2),
        ("logit_diff", THREE_CLASSES, (2 - -2) / 2),
        ("accuracy", THREE_CLASSES, 1 / 2),
        # One output: the distance is the absolute difference.
        ("l2", ([[1.5], [2]], [[-1], [2]], [-1, 2]), 2.5 / 2),
        ("mae", ([[1.5], [2]], [[-1], [2]], [-1, 2]), 2.5 / 2),
    ],
)
def test_known_answers(
    name: MetricName, example: tuple[list, list, list[int]], expected: float
) -> None:
    logits, clean, targets = example
    result = METRICS[name](
        jnp.asarray([logits], jnp.float32),
        jnp.asarray([clean], jnp.float32),
        jnp.asarray([targets], jnp.int32),
    )
    assert result.shape == (1,)
    np.testing.assert_allclose(result, [expected], rtol=1e-6)


def test_what_gets_better_is_negative() -> None:
    worse, better, targets = (jnp.asarray([part]) for part in THREE_CLASSES)
    for name in ("cross_entropy", "logit_diff", "accuracy"):
        there = METRICS[name](worse.astype("float32"), better.astype("float32"), targets)
        back = METRICS[name](better.astype("float32"), worse.astype("float32"), targets)
        assert there[0] > 0
        np.testing.assert_allclose(back, -there, rtol=1e-6)


@few
@given(seeds, scales)
def test_kl_is_scipys(seed: int, scale: float) -> None:
    with jax.enable_x64(True):
        logits, clean, targets = draw(seed, scale, np.float64)
        ours = kl_divergence(logits, clean, targets)
    p, q = softmax(np.asarray(clean), axis=-1), softmax(np.asarray(logits), axis=-1)
    # float64; a class of probability e^-60 costs some digits of its logarithm in scipy.
    np.testing.assert_allclose(ours, entropy(p, q, axis=-1).mean(axis=-1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["kl", "l2", "mae"])
@few
@given(seed=seeds, scale=scales)
def test_distances_are_never_negative(name: MetricName, seed: int, scale: float) -> None:
    assert (METRICS[name](*draw(seed, scale)) >= -ATOL).all()


@each_metric
@few
@given(seed=seeds, scale=scales)
def test_equal_logits_score_zero(name: MetricName, seed: int, scale: float) -> None:
    logits, _, targets = draw(seed, scale)
    np.testing.assert_array_equal(METRICS[name](logits, logits, targets), np.zeros(4))


@each_metric
@few
@given(seed=seeds)
def test_the_order_of_inputs_is_irrelevant(name: MetricName, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(4)
    parts = draw(seed)
    shuffled = METRICS[name](*(part[order] for part in parts))
    np.testing.assert_allclose(shuffled, METRICS[name](*parts)[order], atol=ATOL)


@pytest.mark.parametrize("name", ["kl", "cross_entropy", "logit_diff", "accuracy"])
@few
@given(seed=seeds)
def test_classes_do_not_see_a_shift_of_all_logits(name: MetricName, seed: int) -> None:
    logits, clean, targets = draw(seed)
    shifted = METRICS[name](logits + 3, clean, targets)
    np.testing.assert_allclose(shifted, METRICS[name](logits, clean, targets), atol=ATOL)


@pytest.mark.slow
@each_metric
def test_inside_jit_vmap_and_grad(name: MetricName) -> None:
    logits, clean, targets = draw(0)
    metric = METRICS[name]
    expected = metric(logits, clean, targets)
    np.testing.assert_allclose(jax.jit(metric)(logits, clean, targets), expected, atol=ATOL)
    stacked = jax.vmap(metric, in_axes=(0, None, None))(logits[None], clean, targets)
    np.testing.assert_allclose(stacked[0], expected, atol=ATOL)
    gradient = jax.grad(lambda x: metric(x, clean, targets).sum())(logits)
    assert gradient.shape == logits.shape and jnp.isfinite(gradient).all()


@each_metric
def test_gradients_are_finite_at_equality(name: MetricName) -> None:
    logits, _, targets = draw(1)
    gradient = jax.grad(lambda x: METRICS[name](x, logits, targets).sum())(logits)
    assert jnp.isfinite(gradient).all()
    if name in ("kl", "l2", "accuracy"):
        np.testing.assert_allclose(gradient, np.zeros(logits.shape), atol=ATOL)


@pytest.mark.parametrize("name", ["kl", "cross_entropy", "l2", "logit_diff"])
@pytest.mark.usefixtures("x64")
def test_gradients_are_finite_differences(name: MetricName) -> None:
    logits, clean, targets = draw(2, dtype=np.float64)
    direction = jnp.asarray(np.random.default_rng(3).standard_normal(logits.shape))

    def along(step: float) -> jax.Array:
        return METRICS[name](logits + step * direction, clean, targets).sum()

    slope = jax.grad(lambda x: METRICS[name](x, clean, targets).sum())(logits)
    # Central differences have an error of order step^2 = 1e-8.
    expected = (along(1e-4) - along(-1e-4)) / 2e-4
    np.testing.assert_allclose((slope * direction).sum(), expected, rtol=1e-6)


@each_metric
@pytest.mark.parametrize("size", [1e4, 1e5])
def test_huge_logits_stay_finite(name: MetricName, size: float) -> None:
    # Upstream's training reached logits near 1e5.
    logits, clean, targets = draw(4, size)
    assert jnp.isfinite(METRICS[name](logits, clean, targets)).all()


@each_metric
@pytest.mark.usefixtures("x64")
def test_float64_stays_float64(name: MetricName) -> None:
    assert METRICS[name](*draw(5, dtype=np.float64)).dtype == jnp.float64


# Choosing a metric


def test_the_table_is_complete() -> None:
    assert tuple(METRICS) == METRIC_NAMES


def test_defaults() -> None:
    assert default_metric(tiny_config()) == "kl"
    assert default_metric(tiny_config(d_vocab_out=1)) == "l2"


@each_metric
def test_a_name_stands_for_its_function(name: MetricName) -> None:
    config = tiny_config(d_vocab_out=1) if name == "target_mae" else tiny_config()
    assert resolve_metric(name, config) is METRICS[name]


def test_a_metric_of_numbers_is_refused_for_classes() -> None:
    with pytest.raises(ValueError, match="Expected a metric for classes, got 'target_mae'"):
        resolve_metric("target_mae", tiny_config())


def test_a_function_stands_for_itself() -> None:
    def mine(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
        return logits.sum(axis=(1, 2))

    assert resolve_metric(mine, tiny_config()) is mine
    assert resolve_metric(mine, tiny_config(d_vocab_out=1)) is mine


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_name_is_refused() -> None:
    message = (
        "one of kl, cross_entropy, l2, centred_l2, mae, mse, target_mae, logit_diff, accuracy or "
        "a function; got 'KL'"
    )
    with pytest.raises(ValueError, match=message):
        resolve_metric("KL", tiny_config())  # pyright: ignore[reportArgumentType]


@each_metric
def test_a_regression_takes_no_metric_of_classes(name: MetricName) -> None:
    config = tiny_config(d_vocab_out=1)
    if name in NEED_CLASSES:
        with pytest.raises(ValueError, match=f"for a regression, got '{name}'.* use 'l2' or 'mae'"):
            resolve_metric(name, config)
    else:
        assert resolve_metric(name, config) is METRICS[name]


def test_targets_of_the_clean_run() -> None:
    classes = clean_targets(jnp.asarray([[[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]]]))
    np.testing.assert_array_equal(classes, [[1, 0]])
    assert jnp.issubdtype(classes.dtype, jnp.integer)
    numbers = clean_targets(jnp.asarray([[[0.5], [-2.0]]]))
    np.testing.assert_array_equal(numbers, [[0.5, -2.0]])


# Targets with a distractor


def draw_pairs(seed: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw as `draw` does, with a distractor beside each target."""
    logits, clean, answers = draw(seed)
    distractors = (answers + 1 + jnp.arange(3)[None] % 4) % 5
    return logits, clean, jnp.stack([answers, distractors], axis=-1)


def test_the_logit_difference_by_hand() -> None:
    logits, clean, _ = (jnp.asarray([part], jnp.float32) for part in THREE_CLASSES)
    # At the first position, 4 - 2 before and 1 - 0 after; at the second, nothing changes.
    pairs = jnp.asarray([[[1, 2], [0, 2]]])
    np.testing.assert_allclose(METRICS["logit_diff"](logits, clean, pairs), [(2 - 1) / 2])
    turned = METRICS["logit_diff"](logits, clean, pairs[..., ::-1])
    np.testing.assert_allclose(turned, [(1 - 2) / 2])


@each_metric
def test_only_the_logit_difference_sees_distractors(name: MetricName) -> None:
    logits, clean, pairs = draw_pairs(6)
    found = METRICS[name](logits, clean, pairs)
    alone = METRICS[name](logits, clean, pairs[..., 0])
    if name == "logit_diff":
        assert abs(found - alone).max() > 0.1
    else:
        np.testing.assert_array_equal(found, alone)


@each_metric
def test_metrics_by_class_take_pairs_with_inputs_last(name: MetricName) -> None:
    logits, clean, pairs = draw_pairs(7)
    parts = (logits.transpose(2, 1, 0), clean.transpose(2, 1, 0), pairs.transpose(2, 1, 0))
    expected = METRICS[name](logits, clean, pairs)
    np.testing.assert_allclose(by_class(METRICS[name])(*parts), expected, atol=ATOL)

    def mine(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
        return METRICS[name](logits, clean_logits, targets)

    np.testing.assert_allclose(by_class(mine)(*parts), expected, atol=ATOL)


@pytest.mark.parametrize("shape", [(4, 3, 1), (4, 2), (2, 4, 3)])
@pytest.mark.usefixtures("unchecked")
def test_targets_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    logits, clean, _ = draw(8)
    with pytest.raises(ValueError, match=r"Expected targets of shape \(4, 3\), one per position"):
        METRICS["logit_diff"](logits, clean, jnp.zeros(shape, jnp.int32))
    with pytest.raises(ValueError, match="Expected pairs of targets to be integers"):
        METRICS["logit_diff"](logits, clean, jnp.zeros((4, 3, 2)))


# Invalid targets


def refused_targets(config: TransformerConfig, targets: np.ndarray, message: str) -> None:
    model = build_model(config, random_weights(config, np.float32))
    rng = np.random.default_rng(0)
    clean, corrupted = rng.integers(0, config.d_vocab, (2, *targets.shape[:2]), np.int32)
    for call in (sweep_edges, partial(discover, method="eap")):
        with pytest.raises(ValueError, match=message):
            call(
                model,
                clean.astype(np.int32),
                corrupted.astype(np.int32),
                objective=Objective(targets=targets),
            )


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("wrong", [-100, -2, 99])
def test_classes_that_the_model_lacks(wrong: int) -> None:
    config = tiny_config()
    targets = np.zeros((3, 4), np.int32)
    targets[1, 2] = wrong
    last = config.d_vocab_out - 1
    message = (
        f"Expected classes from 0 to {last} as targets, got {min(wrong, 0)} to {max(wrong, 0)}"
    )
    refused_targets(config, targets, message)
    refused_targets(config, np.stack([targets, targets], axis=-1), message)


@pytest.mark.usefixtures("unchecked")
def test_an_input_without_a_position_that_counts() -> None:
    targets = np.zeros((3, 4), np.int32)
    targets[1, 1:] = UNSCORED
    refused_targets(tiny_config(), targets, "in every input, got none in 1 of 3")


@pytest.mark.usefixtures("unchecked")
def test_numbers_that_are_infinite() -> None:
    targets = np.zeros((3, 4), np.float32)
    targets[0, 3] = np.inf
    refused_targets(tiny_config(d_vocab_out=1), targets, "Expected finite numbers as targets")
