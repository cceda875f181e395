"""The layer norm model at the size of the IOI case, compared with a plain NumPy forward run."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pytest

from interpbench_jax import (
    Transformer,
    TransformerConfig,
    build_model,
    masked_forward,
    replacement_outputs,
    run_with_cache,
)
from interpbench_jax.interventions import layer_norm_scales
from interpbench_jax.masks import edge_mask
from tests.fixtures import random_weights

CONFIG = TransformerConfig(
    n_layers=6,
    n_heads=4,
    d_model=64,
    d_head=16,
    d_mlp=3072,
    d_vocab=120,
    d_vocab_out=120,
    n_ctx=32,
    act_fn="gelu_new",
    normalization_type="LNPre",
    eps=1e-5,
)
Weights = Mapping[str, np.ndarray]


class Plain(NamedTuple):
    """A NumPy run: logits, streams before each layer and at the end, patterns, norm scales."""

    logits: np.ndarray
    streams: np.ndarray
    patterns: np.ndarray
    scales: np.ndarray


def run_numpy(
    weights: Weights, tokens: np.ndarray, embed: np.ndarray, scales: np.ndarray | None = None
) -> Plain:
    """Run the model as defined, with `embed` in place of the tokens' embedding."""
    n_pos, kept, patterns, streams = tokens.shape[1], [], [], []

    def norm(x: np.ndarray) -> np.ndarray:
        own = np.sqrt(x.var(axis=-1) + CONFIG.eps)
        kept.append(own if scales is None else scales[len(kept)])
        return (x - x.mean(axis=-1, keepdims=True)) / kept[-1][..., None]

    x = embed + weights["pos_embed.W_pos"][:n_pos]
    for layer in range(CONFIG.n_layers):
        streams.append(x)
        own = {name.rsplit(".", 1)[1]: weights[name] for name in weights if f"s.{layer}." in name}
        read = norm(x)[:, None]
        q, k, v = (read @ own[f"W_{c}"] + own[f"b_{c}"][:, None] for c in "QKV")
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(CONFIG.d_head)
        scores = np.where(np.tril(np.ones((n_pos, n_pos), bool)), scores, -np.inf)
        grown = np.exp(scores - scores.max(axis=-1, keepdims=True))
        patterns.append(grown / grown.sum(axis=-1, keepdims=True))
        x = x + (patterns[-1] @ v @ own["W_O"]).sum(axis=1) + own["b_O"]
        pre = norm(x) @ own["W_in"] + own["b_in"]
        post = 0.5 * pre * (1 + np.tanh(np.sqrt(2 / np.pi) * (pre + 0.044715 * pre**3)))
        x = x + post @ own["W_out"] + own["b_out"]
    logits = norm(x) @ weights["unembed.W_U"] + weights["unembed.b_U"]
    return Plain(logits, np.stack([*streams, x]), np.stack(patterns), np.stack(kept))


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(CONFIG, np.float64, seed=1)


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    drawn = np.random.default_rng(2).integers(0, CONFIG.d_vocab, (2, 3, CONFIG.n_ctx))
    return drawn.astype(np.int32)


@pytest.fixture
def model(weights: Weights, x64: None) -> Transformer:
    return build_model(CONFIG, weights)


def assert_close(ours: object, theirs: np.ndarray) -> None:
    """Assert equality to 1e-12, relative to the largest entry where that exceeds 1."""
    atol = 1e-12 * max(1, abs(theirs).max())
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=atol)


@pytest.mark.slow
def test_a_plain_run(model: Transformer, weights: Weights, inputs: np.ndarray) -> None:
    tokens = inputs[0]
    expected = run_numpy(weights, tokens, weights["embed.W_E"][tokens])
    logits, cache = run_with_cache(model, tokens)
    assert_close(logits, expected.logits)
    for layer in range(CONFIG.n_layers):
        assert_close(cache[f"blocks.{layer}.hook_resid_pre"], expected.streams[layer])
        assert_close(cache[f"blocks.{layer}.attn.hook_pattern"], expected.patterns[layer])
    assert_close(cache["blocks.5.hook_resid_post"], expected.streams[-1])
    scales = layer_norm_scales(model, tokens)
    assert scales.shape == (len(tokens), CONFIG.n_ctx, 2 * CONFIG.n_layers + 1)
    assert_close(scales.transpose(2, 0, 1), expected.scales)


@pytest.mark.slow
@pytest.mark.parametrize("freezes", [False, True])
def test_a_run_with_other_embeddings(
    model: Transformer, weights: Weights, inputs: np.ndarray, freezes: bool
) -> None:
    clean, other = inputs
    plain = run_numpy(weights, clean, weights["embed.W_E"][clean])
    given = plain.scales if freezes else None
    expected = run_numpy(weights, clean, weights["embed.W_E"][other], given)
    mask = np.ones(edge_mask([], CONFIG.n_layers, CONFIG.n_heads).shape)
    mask[:, 0] = 0
    scales = layer_norm_scales(model, clean) if freezes else None
    replacement = replacement_outputs(model, other)
    assert_close(masked_forward(model, clean, mask, replacement, scales), expected.logits)
    assert abs(expected.logits - plain.logits).max() > 0.1
