"""The losses of one step, compared with each loss computed separately."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import Task
from interpbench_jax.cases.recipe import Replaced
from interpbench_jax.interventions import masked_forward, replacement_outputs
from interpbench_jax.model import Transformer
from interpbench_jax.training.answers import Batch
from interpbench_jax.training.attention import AttentionScores
from interpbench_jax.training.codes import class_code
from interpbench_jax.training.epoch import Epoch, WeightArrays
from interpbench_jax.training.interchange import (
    LayerValues,
    run,
    run_interchanged,
    run_with_cut_edges,
    written,
)
from interpbench_jax.training.losses import Losses, output_loss
from interpbench_jax.training.stack import stack_tasks
from tests.training.tiny_tasks import PROMPTS, SENTENCES, SHARES, SHORT, TREND, VARIED

BATCH = 8


def expected_losses(
    task: Task,
    epoch: Epoch,
    weights: WeightArrays,
    batch: Batch,
    values: tuple[LayerValues, ...],
    rows: tuple[slice, slice],
    has_class: jax.Array,
    is_told: bool = False,
) -> Losses:
    """Compute each loss from a separate run; edges one example at a time."""
    model = epoch._model(weights, has_class)
    tokens, (first, last) = batch.tokens, rows
    counts = tuple(float(pos >= task.first_scored) for pos in range(task.max_seq_len))

    def loss(logits: jax.Array, targets: jax.Array, own: slice) -> jax.Array:
        return output_loss(logits, targets[own], counts, is_real=batch.answers.is_real[own])

    def interchanged(own: slice, mask: jax.Array) -> jax.Array:
        given = jax.tree.map(lambda value: value[..., own], values)
        clean = run(model, tokens[own])
        return run_interchanged(model, clean.streams[0], given, mask[own], is_real=clean.is_real)

    half = slice(BATCH // 2)
    others = replacement_outputs(model, jnp.roll(tokens, 1, axis=0))
    by_example = [
        masked_forward(
            model,
            tokens[row : row + 1],
            1.0 - batch.draw.cut[row].astype(jnp.float32),
            others[row : row + 1],
        )
        for row in range(BATCH // 2)
    ]
    edges = loss(jnp.concatenate(by_example), batch.answers.patched, half)
    if epoch.recipe.margin is None and not task.config.is_regression:
        edges += expected_change(
            jnp.concatenate(by_example), run(model, tokens).logits, batch, counts
        )
    return Losses(
        loss(interchanged(first, batch.draw.aligned), batch.answers.interchanged, first),
        loss(interchanged(last, batch.draw.outside), batch.answers.targets, last),
        output_loss(
            run(model, tokens).logits,
            batch.answers.labels,
            task.loss_weights,
            is_real=batch.answers.is_real,
        ),
        edges,
        expected_attention(task, model, batch, values, half) if is_told else jnp.zeros(()),
    )


def expected_change(
    logits: jax.Array, clean: jax.Array, batch: Batch, counts: tuple[float, ...]
) -> jax.Array:
    """The share of the clean logits' variance that cutting edges outside alone changes."""
    half = slice(BATCH // 2)
    is_outside = ~batch.draw.program_edges[half].any(axis=1)[:, None]
    n_used = logits.shape[1]
    is_scored = jnp.asarray(counts[-n_used:])[None] > 0
    is_counted = batch.answers.is_real[half, -n_used:] & is_outside & is_scored
    moved = (logits - clean[half, -n_used:]).var(axis=-1)
    size = clean[half, -n_used:].var(axis=-1)
    return jnp.where(is_counted, moved, 0).sum() / jnp.where(is_counted, size, 0).sum()


def expected_attention(
    task: Task, model: Transformer, batch: Batch, values: tuple[LayerValues, ...], half: slice
) -> jax.Array:
    """The mean of the losses on attention of plain runs and of runs with edges cut."""
    tokens, plain, cut = batch.tokens, AttentionScores(), AttentionScores()
    run(model, tokens, edit=plain)
    others = written(model, jnp.roll(tokens, 1, axis=0), values)[..., half]
    run_with_cut_edges(model, tokens[half], others, batch.draw.cut[half], cut)
    edges, source = batch.draw.program_edges, jnp.roll(tokens, 1, axis=0)
    patterns = (
        task.high_level.patterns(tokens),
        task.high_level.patterns(tokens, source, edges),
    )
    is_real = batch.answers.is_real[:, 1:].astype(jnp.float32)
    found = []
    for scores, wanted, own in zip((plain, cut), patterns, (slice(None), half), strict=True):
        entropies = []
        for node, pattern in wanted.items():
            log = jax.nn.log_softmax(scores.found[node.layer or 0][:, node.head])
            terms = jnp.where(pattern[own] > 0, -pattern[own] * log, 0).sum(axis=-1)
            entropies.append((terms[:, 1:] * is_real[own]).sum() / is_real[own].sum())
        found.append(jnp.stack(entropies).mean())
    return jnp.stack(found).mean()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_codes")
@pytest.mark.parametrize("margin", [None, 10.0])
@pytest.mark.parametrize(
    ("task", "replaced"),
    [
        (TREND, "both"),
        (SHARES, "either"),
        (PROMPTS, "either"),
        (SENTENCES, "either"),
        (VARIED, "both"),
    ],
    ids=lambda value: value.case_id if isinstance(value, Task) else value,
)
def test_one_step_is_on_the_sum_of_the_losses(
    task: Task, replaced: Replaced, margin: float | None
) -> None:
    is_told = task in (TREND, VARIED)
    recipe = dataclasses.replace(
        SHORT,
        replaced=replaced,
        batch_size=BATCH,
        strict_weight=0.5,
        behavior_weight=3.0,
        edge_weight=2.0,
        attention_weight=4.0 if is_told else 0.0,
        margin=margin,
    )
    (stack,) = stack_tasks((task,), (0,), recipe)
    epoch = stack.epoch
    weights = jax.tree.map(lambda array: array[0], stack.start().weights)
    data = jax.tree.map(lambda array: array[0], stack.data)
    tokens = data.inputs[:BATCH]
    n = BATCH if replaced == "both" else BATCH // 2
    rows = slice(n), slice(BATCH - n, None)

    @jax.jit
    def compute() -> tuple[jax.Array, Losses, Losses]:
        batch = epoch._answer(tokens, jax.random.key(0), data, jnp.int32(0))
        total, losses = epoch._objective(epoch._used, weights, batch, data.has_class)
        found = Losses(**({"attention": jnp.zeros(())} | losses))
        model = epoch._model(weights, data.has_class)
        # Each example's source is the one before it.
        values = run(model, jnp.roll(tokens, 1, axis=0)).values
        expected = expected_losses(
            task, epoch, weights, batch, values, rows, data.has_class, is_told
        )
        return total, found, expected

    total, found, expected = compute()
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    weighted = expected.interchange + 0.5 * expected.strict + 3.0 * expected.behavior
    weighted += 2.0 * expected.edges + 4.0 * expected.attention
    np.testing.assert_allclose(total, weighted, rtol=1e-4)
    # The losses differ by more than rounding, so a mix-up would be noticed.
    several = sorted(map(float, expected))
    assert all(low * 1.0001 < high for low, high in itertools.pairwise(several))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["interchange", "strict", "edges", "sum"])
def test_whether_the_source_is_trained(which: str) -> None:
    constant, trained = (
        stack_tasks(
            (TREND,),
            (0,),
            dataclasses.replace(SHORT, replaced="both", batch_size=BATCH, source_gradient=value),
        )[0]
        for value in (False, True)
    )
    weights = jax.tree.map(lambda array: array[0], constant.start().weights)
    data = jax.tree.map(lambda array: array[0], constant.data)
    key, task = jax.random.key(0), jnp.int32(0)
    batch = constant.epoch._answer(data.inputs[:BATCH], key, data, task)

    def expect(weights: WeightArrays, source: WeightArrays) -> jax.Array:
        """Compute one loss, or the sum, where the source's run has its own weights."""
        epoch = constant.epoch
        sources = epoch._model(source, data.has_class)
        values = run(sources, jnp.roll(batch.tokens, 1, axis=0)).values
        own, model = slice(None), epoch._model(weights, data.has_class)
        losses = expected_losses(TREND, epoch, weights, batch, values, (own, own), data.has_class)
        others = replacement_outputs(sources, jnp.roll(batch.tokens, 1, axis=0))
        half = slice(BATCH // 2)
        logits = [
            masked_forward(
                model,
                batch.tokens[row : row + 1],
                1.0 - batch.draw.cut[row].astype(jnp.float32),
                others[row : row + 1],
            )
            for row in range(BATCH // 2)
        ]
        edges = output_loss(
            jnp.concatenate(logits), batch.answers.patched[half], TREND.scored_weights
        )
        losses = losses._replace(edges=edges)
        if which != "sum":
            return getattr(losses, which)
        return losses.interchange + losses.strict + losses.behavior + losses.edges

    def compute(weights: WeightArrays, epoch: Epoch) -> jax.Array:
        wanted = epoch._used if which == "sum" else (which,)
        return epoch._objective(wanted, weights, batch, data.has_class)[0]

    expected = [
        jax.jit(jax.grad(lambda own: expect(own, weights)))(weights),
        jax.jit(jax.grad(lambda own: expect(own, own)))(weights),
    ]
    for stack, wanted in zip((constant, trained), expected, strict=True):
        found = jax.jit(jax.grad(partial(compute, epoch=stack.epoch)))(weights)
        for name, gradient in wanted.items():
            scale = max(1.0, float(np.abs(gradient).max()))
            np.testing.assert_allclose(found[name], gradient, atol=1e-5 * scale, err_msg=name)
    name = "blocks.0.mlp.W_in"
    assert not np.allclose(expected[0][name], expected[1][name], atol=1e-4)


@pytest.mark.slow
def test_what_a_batch_is_answered_with() -> None:
    recipe = dataclasses.replace(SHORT, batch_size=BATCH, margin=None)
    (stack,) = stack_tasks((SENTENCES,), (0,), recipe)
    data = jax.tree.map(lambda array: array[0], stack.data)
    tokens = data.inputs[:BATCH]
    batch = stack.epoch._answer(tokens, jax.random.key(0), data, jnp.int32(0))
    model, source = SENTENCES.high_level, jnp.roll(tokens, 1, axis=0)
    np.testing.assert_array_equal(batch.answers.targets, model.targets(tokens))
    wanted = model.targets(tokens, source, batch.draw.variables)
    np.testing.assert_array_equal(batch.answers.interchanged, wanted)
    wanted = model.targets(tokens, source, edge=batch.draw.program_edges)
    np.testing.assert_array_equal(batch.answers.patched, wanted)
    np.testing.assert_array_equal(batch.answers.labels[:, :-1], tokens[:, 1:])
    np.testing.assert_array_equal(batch.answers.labels[:, -1], batch.answers.targets[:, -1])
    assert not np.array_equal(batch.answers.interchanged[:, -1], batch.answers.targets[:, -1])
    assert batch.answers.is_real.all()


@pytest.mark.slow
def test_with_a_margin_a_batch_is_answered_with_logits() -> None:
    recipe = dataclasses.replace(SHORT, batch_size=BATCH, margin=7.0)
    (stack,) = stack_tasks((VARIED,), (0,), recipe)
    data = jax.tree.map(lambda array: array[0], stack.data)
    tokens = data.inputs[:BATCH]
    batch = stack.epoch._answer(tokens, jax.random.key(0), data, jnp.int32(0))
    code = 7.0 * class_code(VARIED)
    np.testing.assert_allclose(
        batch.answers.targets, code[np.asarray(VARIED.high_level.targets(tokens))], atol=1e-6
    )
    np.testing.assert_array_equal(batch.answers.is_real, np.asarray(tokens) != VARIED.pad_id)
    assert not batch.answers.is_real.all()
    edges = batch.draw.program_edges
    shares = VARIED.high_level.class_shares(tokens, jnp.roll(tokens, 1, axis=0), edge=edges)
    np.testing.assert_allclose(batch.answers.patched, np.asarray(shares) @ code, atol=1e-6)
