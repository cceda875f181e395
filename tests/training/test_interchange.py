"""Runs under interchange, compared with interchange by TransformerLens's hooks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import build_model, run_with_cache, run_with_hooks
from interpbench_jax.interventions import masked_forward, replacement_outputs
from interpbench_jax.model import Transformer
from interpbench_jax.sites import Kind, Node, readers, writers
from interpbench_jax.training.interchange import (
    node_mask,
    run,
    run_interchanged,
    run_with_cut_edges,
    written,
)
from tests.fixtures import random_weights, tiny_config

BATCH, POS = 5, 6
pytestmark = pytest.mark.usefixtures("x64")


def make_model(**changes: object) -> Transformer:
    config = tiny_config(**changes)
    return build_model(config, random_weights(config, np.float64))


def make_tokens(model: Transformer, seed: int) -> jax.Array:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, model.config.d_vocab, (BATCH, POS), np.int32))


def run_by_hooks(
    model: Transformer, tokens: jax.Array, source: jax.Array, mask: np.ndarray
) -> jax.Array:
    """Run an interchange with the source's activations at `hook_result` and `hook_post`."""
    _, cached = run_with_cache(model, source)
    hooks = {}
    for layer in range(model.config.n_layers):
        heads, mlp = f"blocks.{layer}.attn.hook_result", f"blocks.{layer}.mlp.hook_post"
        chosen = jnp.asarray(mask[:, layer])
        hooks[heads] = lambda activation, name=heads, chosen=chosen: jnp.where(
            chosen[:, None, :-1, None], cached[name], activation
        )
        hooks[mlp] = lambda activation, name=mlp, chosen=chosen: jnp.where(
            chosen[:, None, -1:], cached[name], activation
        )
    return run_with_hooks(model, tokens, hooks)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"normalization_type": "LNPre", "act_fn": "gelu_new"}, {"attention_dir": "bidirectional"}],
    ids=str,
)
def test_an_interchange_is_that_of_the_hooks(changes: dict[str, object]) -> None:
    model = make_model(**changes)
    tokens, source = make_tokens(model, 0), make_tokens(model, 1)
    clean, other = run(model, tokens), run(model, source)
    np.testing.assert_allclose(clean.logits, model(tokens), rtol=0, atol=1e-12)
    shape = (BATCH, model.config.n_layers, model.config.n_heads + 1)
    rng = np.random.default_rng(2)
    for mask in (np.zeros(shape, bool), np.ones(shape, bool), rng.random(shape) < 0.4):
        found = run_interchanged(model, clean.streams[0], other.values, jnp.asarray(mask))
        expected = run_by_hooks(model, tokens, source, mask)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        if not mask.any():
            np.testing.assert_allclose(found, model(tokens), rtol=0, atol=1e-12)


def test_a_late_start_gives_the_same() -> None:
    model = make_model(n_layers=3)
    clean, other = (run(model, make_tokens(model, seed)) for seed in (0, 1))
    for first in (1, 2):
        mask = np.zeros((BATCH, 3, model.config.n_heads + 1), bool)
        mask[:, first] = np.random.default_rng(first).random(mask[:, first].shape) < 0.5
        late = run_interchanged(model, clean.streams[first], other.values, jnp.asarray(mask), first)
        whole = run_interchanged(model, clean.streams[0], other.values, jnp.asarray(mask))
        np.testing.assert_allclose(late, whole, rtol=0, atol=1e-12)


LANGUAGE = {"n_layers": 3, "normalization_type": "LNPre", "act_fn": "gelu_new"}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [LANGUAGE, {"attention_dir": "bidirectional"}], ids=str)
@pytest.mark.parametrize("first_used", [1, 4, POS - 1])
def test_the_last_positions_alone(changes: dict[str, object], first_used: int) -> None:
    model = make_model(**changes)
    n_layers = model.config.n_layers
    tokens, source = make_tokens(model, 0), make_tokens(model, 1)
    clean, other = run(model, tokens), run(model, source)
    short, short_other = (run(model, each, first_used) for each in (tokens, source))
    close = {"rtol": 0, "atol": 1e-12}
    assert short.logits.shape[1] == POS - first_used
    np.testing.assert_allclose(short.logits, clean.logits[:, first_used:], **close)
    for layer in range(n_layers):
        first = first_used if layer == n_layers - 1 else 0
        for found, whole in zip(short.values[layer], clean.values[layer], strict=True):
            assert found.shape[0] == POS - first
            np.testing.assert_allclose(found, whole[first:], **close)
        np.testing.assert_allclose(short.streams[layer], clean.streams[layer], **close)
    mask = np.random.default_rng(2).random((BATCH, n_layers, model.config.n_heads + 1)) < 0.4
    assert mask[:, -1].any() and not mask.all()
    for start in range(n_layers):
        mask[:, :start] = False
        chosen = jnp.asarray(mask)
        whole = run_interchanged(model, clean.streams[start], other.values, chosen, start)
        found = run_interchanged(model, short.streams[start], short_other.values, chosen, start)
        np.testing.assert_allclose(found, whole[:, first_used:], **close)
        by_hooks = run_by_hooks(model, tokens, source, mask)
        np.testing.assert_allclose(found, by_hooks[:, first_used:], **close)
        assert not np.allclose(found, short.logits)


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
@pytest.mark.parametrize("n_queries", [1, 2, POS])
def test_attention_of_the_last_positions(direction: str, n_queries: int) -> None:
    """With only the last queries, each of them attends as it does among all queries."""
    model = make_model(attention_dir=direction, normalization_type="LNPre")
    attention = model.blocks[0].attn
    stream = run(model, make_tokens(model, 0)).streams[0][None]
    whole = attention.attend(stream, stream, stream)
    found = attention.attend(stream[:, -n_queries:], stream, stream)
    assert found.shape == (n_queries, *whole.shape[1:])
    np.testing.assert_allclose(found, whole[-n_queries:], rtol=0, atol=1e-12)
    # Only bidirectional attention sees the positions after a query.
    changed = stream.at[:, -1].multiply(-2.0)
    ahead = attention.attend(stream[:, -n_queries:], changed, changed)
    is_same = np.isclose(ahead, found, rtol=0, atol=1e-12).all(axis=(1, 2, 3))
    assert is_same.tolist() == [direction == "causal"] * (n_queries - 1) + [False]


def test_node_mask() -> None:
    config = tiny_config()  # two layers of three heads
    nodes = (Node(Kind.HEAD, 0, 2), Node(Kind.MLP_POST, 1))
    expected = np.zeros((2, 4), bool)
    expected[0, 2] = expected[1, 3] = True
    np.testing.assert_array_equal(node_mask(config, nodes), expected)
    assert not node_mask(config, ()).any()


@pytest.mark.parametrize(
    "node", [Node(Kind.HEAD, 0, 3), Node(Kind.HEAD, 0, 4), Node(Kind.MLP_POST, 2), Node(Kind.EMBED)]
)
def test_a_node_that_the_model_lacks(node: Node) -> None:
    with pytest.raises(ValueError, match=r"2 layers of 3 heads, got .*; the task needs a larger"):
        node_mask(tiny_config(), (node,))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalization_type": "LNPre", "act_fn": "gelu_new"},
        {"attention_dir": "bidirectional", "pad_token": 1},
    ],
    ids=str,
)
def test_cut_edges_are_those_of_the_masked_forward(changes: dict[str, object]) -> None:
    """Every example has its own mask and is compared with one masked run."""
    model = make_model(**changes)
    tokens, source = make_tokens(model, 0), make_tokens(model, 1)
    if model.config.pad_token is not None:
        tokens = tokens.at[0, 4:].set(1).at[1:, 0].set(0)
    others = written(model, source, run(model, source).values)
    theirs = replacement_outputs(model, source)
    np.testing.assert_allclose(others.transpose(3, 1, 0, 2), theirs, rtol=0, atol=1e-12)
    layers, heads = model.config.n_layers, model.config.n_heads
    shape = (BATCH, len(readers(layers, heads)), len(writers(layers, heads)))
    cut = np.random.default_rng(3).random(shape) < 0.3
    cut[0] = False
    found = run_with_cut_edges(model, tokens, others, jnp.asarray(cut))
    np.testing.assert_allclose(found[:1], model(tokens[:1]), rtol=0, atol=1e-12)
    for row in range(BATCH):
        one = slice(row, row + 1)
        mask = 1.0 - cut[row].astype(np.float64)
        expected = masked_forward(model, tokens[one], mask, theirs[one])
        np.testing.assert_allclose(found[one], expected, rtol=0, atol=1e-12)
