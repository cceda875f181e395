"""The losses of one step, against each loss by itself."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import Task
from interpbench_jax.cases.recipe import Replaced
from interpbench_jax.training.epoch import Epoch, Losses, Weights
from interpbench_jax.training.interchange import LayerValues, run
from interpbench_jax.training.losses import behavior_loss, interchange_loss, strict_loss
from interpbench_jax.training.stack import stack_tasks
from tests.training.tiny_tasks import PROMPTS, SENTENCES, SHARES, SHORT, TREND

BATCH = 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "replaced"),
    [
        (TREND, "both"),
        (SHARES, "either"),
        (PROMPTS, "both"),
        (PROMPTS, "either"),
        (SENTENCES, "either"),
    ],
    ids=lambda value: value.case_id if isinstance(value, Task) else value,
)
def test_one_step_is_on_the_sum_of_the_losses(task: Task, replaced: Replaced) -> None:
    recipe = dataclasses.replace(
        SHORT,
        replaced=replaced,
        batch_size=BATCH,
        strict_weight=0.5,
        behavior_weight=3.0,
    )
    (stack,) = stack_tasks((task,), (0,), recipe)
    epoch = stack.epoch
    weights = jax.tree.map(lambda array: array[0], stack.start().weights)
    data = jax.tree.map(lambda array: array[0], stack.data)
    tokens = data.inputs[:BATCH]
    n = BATCH if replaced == "both" else BATCH // 2
    first, last = slice(n), slice(BATCH - n, None)
    is_scored = tuple(float(pos >= task.first_scored) for pos in range(task.max_seq_len))

    @jax.jit
    def compute() -> tuple[jax.Array, Losses, Losses]:
        batch = epoch._answer(tokens, jax.random.key(0), data.nodes, jnp.int32(0))
        total, found = epoch._sum(weights, batch, data.has_class)
        model = epoch._model(weights, data.has_class)
        # Each example's source is the one before it.
        values = run(model, jnp.roll(tokens, 1, axis=0)).values
        firsts, lasts = (
            jax.tree.map(lambda value, rows=rows: value[..., rows], values)
            for rows in (first, last)
        )
        aligned, outside = batch.draw.aligned[first], batch.draw.outside[last]
        changed, same = batch.interchanged[first], batch.targets[last]
        expected = Losses(
            interchange_loss(model, tokens[first], firsts, aligned, changed, is_scored),
            strict_loss(model, tokens[last], lasts, outside, same, is_scored),
            behavior_loss(model, tokens, batch.labels, task.loss_weights),
        )
        return total, found, expected

    total, found, expected = compute()
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    weighted = expected.interchange + 0.5 * expected.strict + 3.0 * expected.behavior
    np.testing.assert_allclose(total, weighted, rtol=1e-4)
    # They differ by more than rounding, so that none stands for another.
    several = sorted(map(float, expected))
    assert all(low * 1.001 < high for low, high in itertools.pairwise(several))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["interchange", "strict", "sum"])
def test_whether_the_source_is_trained(which: str) -> None:
    constant, trained = (
        stack_tasks(
            (TREND,), (0,), dataclasses.replace(SHORT, batch_size=BATCH, source_gradient=value)
        )[0]
        for value in (False, True)
    )
    weights = jax.tree.map(lambda array: array[0], constant.start().weights)
    data = jax.tree.map(lambda array: array[0], constant.data)
    key, task = jax.random.key(0), jnp.int32(0)
    batch = constant.epoch._answer(data.inputs[:BATCH], key, data.nodes, task)

    def run_sources(weights: Weights) -> tuple[LayerValues, ...]:
        model = constant.epoch._model(weights, data.has_class)
        return run(model, jnp.roll(batch.tokens, 1, axis=0)).values

    def expect(weights: Weights, values: tuple[LayerValues, ...]) -> jax.Array:
        given = (constant.epoch._model(weights, data.has_class), batch.tokens)
        losses = {
            "interchange": interchange_loss(
                *given, values, batch.draw.aligned, batch.interchanged, TREND.scored_weights
            ),
            "strict": strict_loss(
                *given, values, batch.draw.outside, batch.targets, TREND.scored_weights
            ),
            "behavior": behavior_loss(*given, batch.labels, TREND.loss_weights),
        }
        return sum(losses.values(), jnp.float32(0)) if which == "sum" else losses[which]

    def compute(weights: Weights, epoch: Epoch) -> jax.Array:
        if which == "sum":
            return epoch._sum(weights, batch, data.has_class)[0]
        return epoch._one(which, weights, batch, data.has_class)[0]

    values = jax.jit(run_sources)(weights)
    expected = [
        jax.jit(jax.grad(lambda own: expect(own, values)))(weights),
        jax.jit(jax.grad(lambda own: expect(own, run_sources(own))))(weights),
    ]
    for stack, wanted in zip((constant, trained), expected, strict=True):
        found = jax.jit(jax.grad(partial(compute, epoch=stack.epoch)))(weights)
        for name, gradient in wanted.items():
            np.testing.assert_allclose(found[name], gradient, atol=1e-6, err_msg=name)
    name = "blocks.0.mlp.W_in"
    assert not np.allclose(expected[0][name], expected[1][name], atol=1e-4)


@pytest.mark.slow
def test_what_a_batch_is_answered_with() -> None:
    (stack,) = stack_tasks((SENTENCES,), (0,), dataclasses.replace(SHORT, batch_size=BATCH))
    data = jax.tree.map(lambda array: array[0], stack.data)
    tokens = data.inputs[:BATCH]
    batch = stack.epoch._answer(tokens, jax.random.key(0), data.nodes, jnp.int32(0))
    model, source = SENTENCES.high_level, jnp.roll(tokens, 1, axis=0)
    np.testing.assert_array_equal(batch.targets, model.targets(tokens))
    wanted = model.targets(tokens, source, batch.draw.variables[:, :4])
    np.testing.assert_array_equal(batch.interchanged, wanted)
    np.testing.assert_array_equal(batch.labels[:, :-1], tokens[:, 1:])
    np.testing.assert_array_equal(batch.labels[:, -1], batch.targets[:, -1])
    assert not np.array_equal(batch.interchanged[:, -1], batch.targets[:, -1])
