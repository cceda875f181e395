"""Hiding the tokens from readers that the circuit has no edge to from their embedding."""

import dataclasses
import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import Task, find_task
from interpbench_jax.layout import Layout
from interpbench_jax.model import Transformer
from interpbench_jax.training import train
from interpbench_jax.training.hiding import check_hiding, hide_tokens, varying_tokens
from interpbench_jax.training.interchange import edge_table, run, run_with_cut_edges, written
from interpbench_jax.training.stack import stack_tasks
from interpbench_jax.universes import universe
from interpbench_jax.weights import weight_shapes
from tests.training.tiny_tasks import PROMPTS, SHORT, TREND, VARIED

TASK = VARIED
CONFIG = TASK.config
LAYOUT = Layout(CONFIG.n_layers, CONFIG.n_heads)
VARIES = jnp.asarray(varying_tokens(TASK, CONFIG.d_vocab))


def random_weights() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    shapes = weight_shapes(CONFIG).items()
    return {name: jnp.asarray(rng.normal(size=shape) / 3, jnp.float32) for name, shape in shapes}


@jax.jit
def plainly_and_cut(
    weights: dict[str, jax.Array], tokens: jax.Array, corrupted: jax.Array, cut: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Logits of a plain run, and of one in which edges carry what they do on another input."""
    model = Transformer(CONFIG, weights)
    others = written(model, corrupted, run(model, corrupted).values)
    return run(model, tokens).logits, run_with_cut_edges(model, tokens, others, cut)


def moved_by_cuts(weights: dict[str, jax.Array], is_cut: np.ndarray) -> float:
    """The largest change of a logit when tokens come to some readers from another input."""
    pairs = TASK.sample(64, 0)
    cut = np.zeros((64, LAYOUT.n_readers, LAYOUT.n_writers), bool)
    cut[:, is_cut, 0] = True
    plain, moved = plainly_and_cut(weights, pairs.input_ids, pairs.corrupted_input_ids, cut)
    return float(jnp.abs(moved - plain).max())


@pytest.mark.slow
def test_hidden_tokens_change_nothing() -> None:
    weights = random_weights()
    hidden = np.random.default_rng(1).random(LAYOUT.n_readers) < 0.5
    found = hide_tokens(CONFIG, weights, jnp.asarray(hidden), VARIES)
    assert moved_by_cuts(found, hidden) < 1e-4
    assert moved_by_cuts(weights, hidden) > 1
    # Each of the other readers sees what it saw.
    for reader in np.flatnonzero(~hidden):
        assert moved_by_cuts(found, np.arange(LAYOUT.n_readers) == reader) > 1e-2


def test_no_other_weight_changes() -> None:
    weights = random_weights()
    hidden = np.zeros(LAYOUT.n_readers, bool)
    hidden[LAYOUT.first_reader(1) + LAYOUT.of_kind(2).start + 1] = True
    found = hide_tokens(CONFIG, weights, jnp.asarray(hidden), VARIES)
    assert found.keys() == weights.keys()
    for name, array in found.items():
        is_same = np.asarray(array == weights[name])
        if name == "blocks.1.attn.W_V":
            is_head = np.arange(CONFIG.n_heads) == 1
            assert (is_same.all(axis=(1, 2)) == ~is_head).all()
        else:
            assert is_same.all()


def test_hiding_twice_is_hiding_once() -> None:
    hidden = jnp.ones(LAYOUT.n_readers, bool)
    once = hide_tokens(CONFIG, random_weights(), hidden, VARIES)
    twice = hide_tokens(CONFIG, once, hidden, VARIES)
    for name, array in twice.items():
        np.testing.assert_allclose(array, once[name], atol=1e-5, err_msg=name)


def test_tokens_that_vary() -> None:
    varies = varying_tokens(TASK, CONFIG.d_vocab + 2)
    assert {TASK.tokens[index] for index in np.flatnonzero(varies)} == {"a", "b", "c", "PAD"}
    without_padding = varying_tokens(TREND, TREND.config.d_vocab)
    assert {TREND.tokens[index] for index in np.flatnonzero(without_padding)} == {"0", "1", "2"}


@pytest.mark.slow
def test_a_model_trained_so_is_blind() -> None:
    recipe = dataclasses.replace(SHORT, epochs=1, hides_tokens=True, average_decay=0.5)
    trained = train(TASK, recipe=recipe)
    every = edge_table(CONFIG, universe("qkv", CONFIG.n_layers, CONFIG.n_heads).edges)
    inside = [edge_table(CONFIG, fine) for fine in TASK.edge_alignment.values()]
    hidden = (every & ~np.logical_or.reduce(inside))[:, 0]
    weights = {name: jnp.asarray(array) for name, array in trained.case.weights.items()}
    assert 0 < hidden.sum() < LAYOUT.n_readers
    assert moved_by_cuts(weights, hidden) < 1e-6
    assert moved_by_cuts(weights, ~hidden) > 1e-4


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (find_task("leak-2"), "hides_tokens=False for a task with a leak"),
        (PROMPTS, "hides_tokens=False for a model with layer norms"),
        (
            dataclasses.replace(TASK, vocab=tuple(string.ascii_lowercase)),
            "embeddings of its 27 tokens can differ in all 20 dimensions",
        ),
    ],
    ids=["leak", "layer norm", "too many tokens"],
)
def test_tasks_whose_tokens_cannot_be_hidden(task: Task, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_hiding(task)
    (stack,) = stack_tasks((task,), (0,), dataclasses.replace(SHORT, hides_tokens=True))
    with pytest.raises(ValueError, match=message):
        _ = stack.data
