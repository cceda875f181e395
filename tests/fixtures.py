"""Helpers that several tests share: upstream's fixtures, and small random models."""

import json
from pathlib import Path

import numpy as np
import pytest

from interpbench_jax.config import TransformerConfig
from interpbench_jax.weights import weight_shapes

UPSTREAM = Path(__file__).resolve().parents[2] / "shared" / "upstream"

# Listed explicitly, so that a missing fixture makes a test fail instead of shrinking it.
CASE_IDS = tuple("3 4 8 11 13 18 19 20 21 24 33 34 35 36 37 38".split())
MODEL_FOLDERS = (
    "release/3",
    "release/11",
    "release/13",
    "release/random_bidirectional_relu",
    "release/random_lnpre",
    "release_v1/3",
    "release_v1/11",
    "release_v1/13",
)
ORACLES = ("3", "11", "13", "random_bidirectional_relu", "random_lnpre")

requires_upstream = pytest.mark.skipif(
    not UPSTREAM.is_dir(), reason=f"upstream's fixtures are not at {UPSTREAM}"
)


def read_upstream_case(case_id: str) -> dict:
    """Return the facts about one Tracr case of release 1.0.0."""
    return json.loads((UPSTREAM / "cases" / f"{case_id}.json").read_text(encoding="utf-8"))


def tiny_config(**changes: object) -> TransformerConfig:
    """Return a config of two small layers whose sizes all differ, with some values changed."""
    values: dict[str, object] = {
        "n_layers": 2,
        "n_heads": 3,
        "d_model": 10,
        "d_head": 4,
        "d_mlp": 8,
        "d_vocab": 7,
        "d_vocab_out": 5,
        "n_ctx": 6,
        "act_fn": "gelu",
    }
    return TransformerConfig.from_dict(values | changes)


def random_weights(
    config: TransformerConfig, dtype: np.typing.DTypeLike = np.float32, seed: int = 0
) -> dict[str, np.ndarray]:
    """Draw weights that fit a config: standard normal numbers divided by the root of `d_model`."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) / config.d_model**0.5).astype(dtype)
        for name, shape in weight_shapes(config).items()
    }
