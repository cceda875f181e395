"""Padding is not attended to: on its real positions, a padded row gives what it gives alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import build_model, discover, masked_forward, sweep_edges, sweep_masks
from interpbench_jax.axes import Logits
from interpbench_jax.config import TransformerConfig
from interpbench_jax.interventions import replacement_outputs
from interpbench_jax.masks import edge_mask
from interpbench_jax.metrics import PerInput
from interpbench_jax.model import Transformer
from interpbench_jax.objective import Objective
from interpbench_jax.targets import Targets
from interpbench_jax.universes import universe
from tests.fixtures import random_weights, tiny_config

PAD, N, POS = 1, 4, 6
LENGTHS = np.asarray([6, 4, 3, 5])
pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(scope="module")
def config() -> TransformerConfig:
    return tiny_config(attention_dir="bidirectional", pad_token=PAD)


@pytest.fixture
def model(config: TransformerConfig) -> Transformer:
    return build_model(config, random_weights(config, np.float64))


def make_tokens(config: TransformerConfig, seed: int, lengths: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(2, config.d_vocab, (N, POS)).astype(np.int32)
    tokens[:, 0] = 0
    return np.where(np.arange(POS)[None] < lengths[:, None], tokens, PAD).astype(np.int32)


@pytest.mark.slow
def test_a_row_gives_what_it_gives_alone(config: TransformerConfig, model: Transformer) -> None:
    tokens = make_tokens(config, 0, LENGTHS)
    logits = np.asarray(model(jnp.asarray(tokens)))
    for row, length in enumerate(LENGTHS):
        alone = np.asarray(model(jnp.asarray(tokens[row : row + 1, :length])))
        np.testing.assert_allclose(logits[row, :length], alone[0], atol=1e-12)
    # A model without a padding token attends to it.
    reads = build_model(dataclasses.replace(config, pad_token=None), random_weights(config))
    other = np.asarray(reads(jnp.asarray(tokens)))
    assert not np.allclose(other[1, :4], logits[1, :4], atol=1e-3)


@pytest.mark.slow
def test_sweeps_are_those_of_the_masked_forward(
    config: TransformerConfig, model: Transformer
) -> None:
    """Effects of every edge agree for rows of different lengths, on their real positions."""
    clean, other = make_tokens(config, 0, LENGTHS), make_tokens(config, 1, LENGTHS[::-1])
    is_real = clean != PAD
    targets = np.where(is_real & (np.arange(POS) > 0)[None], 2, -1).astype(np.int32)
    swept = sweep_edges(model, clean, other, metric="l2", objective=Objective(targets=targets))
    replacement = replacement_outputs(model, jnp.asarray(other))
    plain = np.asarray(model(jnp.asarray(clean)))
    edges = universe("qkv", config.n_layers, config.n_heads).edges
    masks = np.stack([1 - edge_mask([edge], config.n_layers, config.n_heads) for edge in edges])
    logits = jax.lax.map(
        lambda mask: masked_forward(model, jnp.asarray(clean), mask, replacement),
        jnp.asarray(masks, jnp.float64),
    )
    distances = np.sqrt(((np.asarray(logits) - plain[None]) ** 2).sum(axis=-1))
    counts = targets != -1
    expected = (distances * counts[None]).sum(axis=2) / counts.sum(axis=1)[None]
    np.testing.assert_allclose(swept.effects, expected.mean(axis=1), atol=1e-12)
    by_masks = sweep_masks(
        model, clean, other, masks=masks, metric="l2", objective=Objective(targets=targets)
    )
    np.testing.assert_allclose(by_masks.effects, swept.effects, atol=1e-12)

    def own(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
        """A user-defined metric that averages over all positions it is given."""
        return jnp.sqrt(((logits - clean_logits) ** 2).sum(axis=-1)).mean(axis=-1)

    found = sweep_edges(model, clean, other, metric=own, objective=Objective(targets=targets))
    np.testing.assert_allclose(found.effects, swept.effects, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["exact", "acdc", "eap", "mask-gradient"])
def test_what_stands_at_padding_changes_no_score(
    config: TransformerConfig, model: Transformer, method: str
) -> None:
    """Scores equal those of the same rows without their common padding."""
    lengths = np.full(N, 4)
    clean, other = make_tokens(config, 2, lengths), make_tokens(config, 3, lengths)
    targets = np.where(clean != PAD, 2, -1).astype(np.int32)
    padded = discover(model, clean, other, method, objective=Objective(targets=targets))
    cut = [array[:, :4] for array in (clean, other, targets)]
    short = discover(model, cut[0], cut[1], method, objective=Objective(targets=cut[2]))
    np.testing.assert_allclose(padded.values, short.values, atol=1e-9)


@pytest.mark.usefixtures("unchecked")
def test_a_padding_token_is_one_of_the_vocabulary(config: TransformerConfig) -> None:
    for wrong in (-1, config.d_vocab, 1.0, True):
        with pytest.raises(
            ValueError, match=r"Expected pad_token to be an id from 0 to \d+ or null"
        ):
            dataclasses.replace(config, pad_token=wrong)  # pyright: ignore[reportArgumentType]
    assert TransformerConfig.from_json(config.to_json()) == config
