"""Small models, their inputs, and plain versions of the computations of methods."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from interpbench_jax import Transformer, TransformerConfig, build_model, masked_forward
from interpbench_jax.discovery import DiscoveryData
from interpbench_jax.interventions import layer_norm_scales, replacement_outputs
from interpbench_jax.metrics import Metric
from interpbench_jax.sites import readers, writers
from tests.fixtures import random_weights, tiny_config

CONFIGS = {
    "plain": tiny_config(),
    "layer norm": tiny_config(n_heads=2, normalization_type="LNPre", act_fn="gelu_new"),
    "regression": tiny_config(
        n_layers=1, d_vocab_out=1, attention_dir="bidirectional", act_fn="relu"
    ),
}

# The same models, and one whose layer norm is frozen.
KINDS = (*CONFIGS, "frozen layer norm")


def make_small(
    kind: str, dtype: np.typing.DTypeLike = np.float64, **changes: object
) -> tuple[Transformer, DiscoveryData]:
    """A model of one of `KINDS`, and data for it."""
    model = small_model(CONFIGS[kind.removeprefix("frozen ")], dtype)
    changes = {"freeze_layer_norm": kind.startswith("frozen "), **changes}
    return model, small_data(model, **changes)  # pyright: ignore[reportArgumentType]


def small_model(config: TransformerConfig, dtype: np.typing.DTypeLike = np.float32) -> Transformer:
    """A model with random weights."""
    return build_model(config, random_weights(config, dtype, seed=3))


def small_data(model: Transformer, n_inputs: int = 7, **changes: object) -> DiscoveryData:
    """Random pairs, and targets that differ from the model's answers."""
    config = model.config
    generator = np.random.default_rng(5)
    drawn = generator.integers(0, config.d_vocab, (2, n_inputs, config.n_ctx)).astype(np.int32)
    if config.is_regression:
        targets = generator.normal(size=drawn[0].shape).astype(model.dtype)
    else:
        targets = generator.integers(0, config.d_vocab_out, drawn[0].shape).astype(np.int32)
    values = {"clean": drawn[0], "corrupted": drawn[1], "targets": targets} | changes
    return DiscoveryData(**values)  # pyright: ignore[reportArgumentType]


def mask_metric(
    model: Transformer, data: DiscoveryData, metric: Metric
) -> Callable[[jax.Array], jax.Array]:
    """The metric as a function of the edge mask, from the reference; averaged over inputs."""
    if data.constants is None:
        replacement = replacement_outputs(model, data.corrupted)
    else:
        replacement = jnp.asarray(data.constants)
    scales = layer_norm_scales(model, data.clean) if data.freeze_layer_norm else None
    clean = model(data.clean)[:, data.first_scored :]
    targets = data.targets[:, data.first_scored :]

    def of_mask(mask: jax.Array) -> jax.Array:
        logits = masked_forward(model, data.clean, mask, replacement, scales)
        return metric(logits[:, data.first_scored :], clean, targets).mean()

    return of_mask


def full_mask(model: Transformer) -> np.ndarray:
    """A mask that cuts nothing."""
    sizes = (model.config.n_layers, model.config.n_heads)
    return np.ones((len(readers(*sizes)), len(writers(*sizes))), model.dtype)
