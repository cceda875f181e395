"""The loss on attention: what heads are told, by hand and in training."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import RaspTask
from interpbench_jax.interventions import run_with_cache
from interpbench_jax.model import Transformer
from interpbench_jax.rasp import Aggregate, Comparison, Select, indices, tokens
from interpbench_jax.sites import Kind, Node
from interpbench_jax.training import train
from interpbench_jax.training.attention import (
    AttentionScores,
    attention_loss,
    wanted_attention,
)
from interpbench_jax.training.interchange import run
from interpbench_jax.training.stack import stack_tasks
from tests.training.tiny_tasks import LETTERS, PROMPTS, SHORT, TREND, VARIED


def test_heads_are_told_what_the_selector_selects() -> None:
    previous = Select(indices, indices, Comparison.EQ)
    task = RaspTask(
        case_id="same",
        description="The token itself, fetched by a head.",
        program=Aggregate(previous, tokens, name="same"),
        vocab=("a", "b"),
        max_seq_len=4,
        d_model=8,
        n_layers=2,
        n_heads=2,
    )
    inputs = np.stack([task.encode(list("abb")), task.encode(list("baa"))])
    wanted = np.array(wanted_attention(task, task.config, jnp.asarray(inputs)))
    assert wanted.shape == (2, 2, 2, 4, 4)
    (head,) = task.high_level.patterns(inputs)
    # Nothing is selected at BOS, which then attends to itself.
    expected = np.stack([np.eye(4)] * 2)
    np.testing.assert_allclose(wanted[:, head.layer, head.head], expected, atol=1e-12)
    wanted[:, head.layer, head.head] = 0
    assert not wanted.any()


@pytest.mark.parametrize("task", [TREND, VARIED], ids=lambda task: task.case_id)
def test_every_head_of_the_program_attends_somewhere(task: RaspTask) -> None:
    inputs = task.sample(64, 0).input_ids
    patterns = task.high_level.patterns(inputs)
    assert patterns and set(patterns) == {node for node in task.alignment if node.head is not None}
    is_pad = inputs == task.pad_id
    for pattern in map(np.asarray, patterns.values()):
        np.testing.assert_allclose(pattern.sum(axis=-1), 1, rtol=1e-5)
        assert not pattern.transpose(0, 2, 1)[is_pad].any()


@pytest.mark.slow
def test_programs_without_selectors_say_nothing() -> None:
    assert LETTERS.high_level.patterns(LETTERS.sample(4, 0).input_ids) == {}
    assert PROMPTS.high_level.patterns(PROMPTS.sample(4, 0).input_ids) == {}


def test_by_hand() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 1, 2, 3, 3))
    wanted = np.zeros_like(scores)
    wanted[:, 0, 1] = np.asarray([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    is_real = np.asarray([[True] * 3, [True, True, False]])
    log_pattern = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    # The first example has two queries, and the second one; BOS and padding do not count.
    rows = [(0, 1), (0, 2), (1, 1)]
    terms = [-(wanted[b, 0, 1, q] * log_pattern[b, 0, 1, q]).sum() for b, q in rows]
    found = attention_loss(
        jnp.asarray(scores, jnp.float32), jnp.asarray(wanted, jnp.float32), jnp.asarray(is_real)
    )
    np.testing.assert_allclose(found, np.mean(terms), rtol=1e-5)


def test_keys_that_cannot_be_seen_do_not_matter() -> None:
    scores = jnp.asarray([[[[[0.0, -jnp.inf], [0.0, 0.0]]]]])
    wanted = jnp.asarray([[[[[1.0, 0.0], [0.5, 0.5]]]]])
    found = attention_loss(scores, wanted, jnp.ones((1, 2), bool))
    np.testing.assert_allclose(found, np.log(2), rtol=1e-6)


@pytest.mark.slow
def test_the_scores_that_are_kept_are_those_of_every_layer() -> None:
    rng = np.random.default_rng(0)
    (stack,) = stack_tasks([TREND], (0,), SHORT)
    weights = {name: array[0] for name, array in stack.start().weights.items()}
    model = Transformer(TREND.config, weights)
    inputs = jnp.asarray(TREND.draw(3, rng))
    kept = AttentionScores()
    found, plain = run(model, inputs, edit=kept), run(model, inputs)
    np.testing.assert_array_equal(found.logits, plain.logits)
    _, cache = run_with_cache(model, inputs)
    assert len(kept.found) == TREND.config.n_layers
    for layer, scores in enumerate(kept.found):
        expected = cache[str(Node(Kind.ATTN_SCORES, layer))]
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_heads_learn_where_to_attend() -> None:
    recipe = dataclasses.replace(
        SHORT,
        attention_weight=1.0,
        epochs=15,
        learning_rate=1e-2,
        **dict.fromkeys(("iit_weight", "behavior_weight", "strict_weight", "edge_weight"), 0.0),
    )
    trained = train(TREND, recipe=recipe)
    first, last = trained.log[0].losses["attention"], trained.log[-1].losses["attention"]
    assert last < first / 10
    without = train(TREND, recipe=dataclasses.replace(SHORT, epochs=1))
    assert without.log[0].losses["attention"] == 0


def test_attention_needs_a_program_with_selectors() -> None:
    recipe = dataclasses.replace(SHORT, attention_weight=1.0)
    with pytest.raises(ValueError, match=r"'prompts': expected .* attention_weight=0"):
        stack_tasks((PROMPTS,), (0,), recipe)
    with pytest.raises(ValueError, match="'letters': expected"):
        stack_tasks((LETTERS,), (0,), dataclasses.replace(SHORT, before=recipe))
