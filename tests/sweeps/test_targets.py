"""Targets with a distractor, wherever a sweep accepts targets."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import (
    METRICS,
    Objective,
    SweepOptions,
    Transformer,
    build_model,
    sweep_cuts,
    sweep_edges,
    sweep_many,
    sweep_masks,
    sweep_neurons,
    sweep_nodes,
    universe,
)
from interpbench_jax.axes import Logits
from interpbench_jax.masks import edge_mask
from interpbench_jax.metrics import METRIC_NAMES, MetricName, PerInput
from interpbench_jax.targets import Targets
from tests.fixtures import random_weights, tiny_config

CONFIG = tiny_config(n_heads=2, d_model=4, d_head=2, d_vocab=6, d_vocab_out=4, n_ctx=3)
N_INPUTS = 7
EDGES = universe("qkv", 2, 2).edges
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return build_model(CONFIG, random_weights(CONFIG, seed=3))


@pytest.fixture(scope="module")
def inputs() -> Pair:
    drawn = np.random.default_rng(5).integers(0, CONFIG.d_vocab, (2, N_INPUTS, CONFIG.n_ctx))
    return drawn[0].astype(np.int32), drawn[1].astype(np.int32)


@pytest.fixture(scope="module")
def pairs() -> np.ndarray:
    """An answer and another class as its distractor, at each position."""
    generator = np.random.default_rng(6)
    answers = generator.integers(0, CONFIG.d_vocab_out, (N_INPUTS, CONFIG.n_ctx))
    distractors = answers + generator.integers(1, CONFIG.d_vocab_out, answers.shape)
    return np.stack([answers, distractors % CONFIG.d_vocab_out], axis=-1).astype(np.int32)


def difference(logits: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The answer's logit minus the distractor's, on the scored positions: `[..., batch, pos]`."""
    chosen = np.take_along_axis(logits, np.broadcast_to(pairs, (*logits.shape[:-1], 2)), axis=-1)
    return (chosen[..., 0] - chosen[..., 1])[..., 1:]


@pytest.mark.slow
def test_every_sweep_scores_the_logit_difference(
    model: Transformer, inputs: Pair, pairs: np.ndarray
) -> None:
    clean = difference(np.asarray(model(inputs[0])), pairs)
    masks = 1 - np.stack([edge_mask([edge], 2, 2) for edge in EDGES[::7]])
    asked = {
        "objective": Objective("logit_diff", pairs),
        "options": SweepOptions(return_logits=True),
    }
    found = [
        sweep_edges(model, *inputs, ablation=("zero", "resample"), **asked),
        sweep_nodes(model, *inputs, positions="each", **asked),
        sweep_cuts(model, *inputs, cuts=[EDGES[:2], EDGES[5:30:9]], **asked),
        sweep_masks(model, *inputs, masks=masks, **asked),
        sweep_neurons(model, *inputs, **asked),
    ]
    for result in found:
        assert result.logits is not None
        expected = (clean - difference(result.logits, pairs)).mean(axis=(-2, -1))
        assert abs(expected).max() > 1e-3
        np.testing.assert_allclose(result.effects, expected, rtol=0, atol=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in METRIC_NAMES if n not in ("logit_diff", "target_mae")])
def test_other_metrics_look_at_the_answer_alone(
    model: Transformer, inputs: Pair, pairs: np.ndarray, name: MetricName
) -> None:
    with_distractors = sweep_edges(model, *inputs, objective=Objective(name, pairs))
    alone = sweep_edges(model, *inputs, objective=Objective(name, pairs[..., 0]))
    np.testing.assert_allclose(with_distractors.effects, alone.effects, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("max_bytes", [None, 30_000])
def test_a_custom_metric_is_given_targets_as_they_are(
    model: Transformer, inputs: Pair, pairs: np.ndarray, max_bytes: int | None
) -> None:
    seen: list[tuple[int, ...]] = []

    def mine(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
        seen.append(targets.shape)
        assert logits.shape[:2] == targets.shape[:2]
        return METRICS["logit_diff"](logits, clean_logits, targets)

    for targets in (pairs, pairs[..., 1]):
        seen.clear()
        own = sweep_edges(
            model,
            *inputs,
            objective=Objective(mine, targets),
            options=SweepOptions(max_bytes=max_bytes),
        )
        assert {shape[1:] for shape in seen} == {(2, *targets.shape[2:])}
        named = sweep_edges(model, *inputs, objective=Objective("logit_diff", targets))
        np.testing.assert_allclose(own.effects, named.effects, rtol=0, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
def test_many_models(model: Transformer, inputs: Pair, pairs: np.ndarray, stacked: bool) -> None:
    models = [model, build_model(CONFIG, random_weights(CONFIG, seed=4)), model]
    clean, corrupted = [inputs[0]] * 3, [inputs[1]] * 3
    # The last model's targets have no distractors, so it is no part of the stack.
    targets = [pairs, pairs[::-1], pairs[..., 0]]
    objectives = [Objective("logit_diff", own) for own in targets]
    found = sweep_many(models, clean, corrupted, objective=objectives, stacked=stacked)
    for one, own, result in zip(models, objectives, found, strict=True):
        alone = sweep_edges(one, *inputs, objective=own)
        np.testing.assert_allclose(result.effects, alone.effects, rtol=0, atol=5e-6)


def test_saved_sweeps_distinguish_distractors(
    model: Transformer, inputs: Pair, pairs: np.ndarray, tmp_path: Path
) -> None:
    asked = {"metric": "logit_diff", "options": SweepOptions(save_to=tmp_path)}
    first = sweep_edges(model, *inputs, objective=Objective(targets=pairs), **asked)
    again = sweep_edges(model, *inputs, objective=Objective(targets=jnp.asarray(pairs)), **asked)
    np.testing.assert_array_equal(first.effects, again.effects)
    other = pairs[..., ::-1]
    for targets in (other, pairs[..., 0]):
        with pytest.raises(ValueError, match="inputs: expected"):
            sweep_edges(model, *inputs, objective=Objective(targets=targets), **asked)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.zeros((7, 3, 3), np.int32), r"\(7, 3\), one per position, or \(7, 3, 2\), an answer"),
        (np.zeros((7, 2, 3), np.int32), r"got \(7, 2, 3\)"),
        (np.zeros((2, 7, 3), np.int32), r"got \(2, 7, 3\)"),
        (np.zeros((7, 3, 2), np.float32), "pairs of targets to be integers.* got float32"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_targets_of_other_shapes_are_refused(
    model: Transformer, inputs: Pair, targets: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sweep_edges(model, *inputs, objective=Objective(targets=targets))
