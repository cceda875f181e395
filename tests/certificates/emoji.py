"""A handmade model of case 36, whose every answer and every effect is known."""

import math
from collections.abc import Mapping

import numpy as np

from interpbench_jax.case import Case
from interpbench_jax.cases import RASP_CASES
from interpbench_jax.weights import weight_shapes

TASK = RASP_CASES["36"]
SCALE = 4.0
# KL divergence of the logits SCALE and -SCALE / 2 (twice) from the same with another class on top.
_RIGHT = math.exp(SCALE) / (math.exp(SCALE) + 2 * math.exp(-SCALE / 2))
KL = 1.5 * SCALE * (_RIGHT - (1 - _RIGHT) / 2)

_ANGLES = 2 * np.pi * np.arange(3) / 3
CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
# gelu(3); gelu(-7) and gelu(-12) are 0 to float32.
_ACTIVE = 3 * 0.5 * (1 + math.erf(3 / math.sqrt(2)))


def detect_tokens(weights: Mapping[str, np.ndarray], layer: int) -> None:
    """Make three hidden units of an MLP detect the three tokens; none is active at BOS."""
    weights[f"blocks.{layer}.mlp.W_in"][:2, :3] = 10 * CIRCLE.T
    weights[f"blocks.{layer}.mlp.b_in"][:3] = -7


def make_weights() -> dict[str, np.ndarray]:
    """Make weights whose first MLP computes the mood in its own dimensions; the rest writes 0."""
    rng = np.random.default_rng(0)
    shapes = weight_shapes(TASK.config)
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    for layer in range(TASK.n_layers):
        for letter in "QKV":  # the heads write nothing, so their attention does not matter
            name = f"blocks.{layer}.attn.W_{letter}"
            weights[name][:] = rng.standard_normal(shapes[name])
    classes = TASK.classes
    assert classes is not None
    tokens = {token: TASK.token_ids[str(token)] for token in TASK.vocab}
    moods = {"📘": "neutral", "😊": "positive", "😢": "negative"}
    detect_tokens(weights, 0)
    for unit, (token, index) in enumerate(tokens.items()):
        weights["embed.W_E"][index, :2] = CIRCLE[unit]
        mood = classes.index(moods[str(token)])
        weights["blocks.0.mlp.W_out"][unit, 2:] = SCALE / _ACTIVE * CIRCLE[mood]
    weights["unembed.W_U"][2:] = CIRCLE.T
    return weights


def make_case(weights: Mapping[str, np.ndarray] | None = None) -> Case:
    """Return the case with these weights; the default is the correct ones."""
    return Case(
        case_id="36",
        config=TASK.config,
        weights=make_weights() if weights is None else weights,
        circuit=TASK.complete_circuit,
        vocab=tuple(sorted(TASK.token_ids, key=TASK.token_ids.__getitem__)),
    )


def make_leaking_case() -> Case:
    """Return a case whose second MLP, which is outside the circuit, responds to the first token."""
    weights = make_weights()
    detect_tokens(weights, 1)
    weights["blocks.1.mlp.W_out"][0, 2:] = [30.0, 10.0]
    return make_case(weights)
