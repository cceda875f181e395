"""Sweeps whose runs divide by what the clean run divided by, against the masked forward."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from interpbench_jax import (
    SweepOptions,
    SweepResult,
    Transformer,
    build_model,
    masked_forward,
    replacement_outputs,
    run_with_cache,
    run_with_hooks,
    sweep_cuts,
    sweep_edges,
    sweep_many,
    sweep_masks,
    sweep_neurons,
    sweep_nodes,
    universe,
)
from interpbench_jax.engine import programs
from interpbench_jax.interventions import ABLATIONS, Ablation, layer_norm_scales
from interpbench_jax.masks import edge_mask
from interpbench_jax.targets import Targets
from tests.fixtures import random_weights, tiny_config

SIZES = {"n_heads": 2, "d_model": 6, "d_head": 2, "d_vocab": 6, "d_vocab_out": 3, "n_ctx": 4}
CONFIG = tiny_config(**SIZES, normalization_type="LNPre", act_fn="gelu_new")
PLAIN = tiny_config(**SIZES)
SPACE = universe("qkv", 2, 2)
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def model(x64: None) -> Transformer:
    return build_model(CONFIG, random_weights(CONFIG, np.float64, seed=3))


@pytest.fixture(scope="module")
def inputs() -> Pair:
    drawn = np.random.default_rng(5).integers(0, CONFIG.d_vocab, (2, 5, CONFIG.n_ctx))
    return drawn[0].astype(np.int32), drawn[1].astype(np.int32)


def references(
    model: Transformer, inputs: Pair, masks: np.ndarray, ablation: Ablation
) -> np.ndarray:
    """Logits of frozen runs under some masks."""
    clean, corrupted = inputs
    replacement = replacement_outputs(model, corrupted, ablation)
    scales = layer_norm_scales(model, clean)
    return np.stack([masked_forward(model, clean, mask, replacement, scales) for mask in masks])


def check(found: SweepResult, expected: np.ndarray) -> None:
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, expected, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_edges_and_nodes(model: Transformer, inputs: Pair, ablation: Ablation) -> None:
    asked: dict[str, Any] = {
        "ablation": ablation,
        "options": SweepOptions(return_logits=True),
    }
    ways: list[tuple[Callable[..., SweepResult], list]] = [
        (sweep_edges, [[edge] for edge in SPACE.edges]),
        (sweep_nodes, [SPACE.fine_edges_of(node) for node in SPACE.sources]),
    ]
    for sweep, cuts in ways:
        masks = 1 - np.stack([edge_mask(cut, 2, 2) for cut in cuts])
        frozen = sweep(model, *inputs, freeze_layer_norm=True, **asked)
        check(frozen, references(model, inputs, masks, ablation))
        own = sweep(model, *inputs, **asked)
        assert abs(frozen.effects - own.effects).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("by_position", [False, True])
def test_masks_of_any_numbers(model: Transformer, inputs: Pair, by_position: bool) -> None:
    shape = edge_mask([], 2, 2).shape + ((CONFIG.n_ctx,) if by_position else ())
    masks = np.random.default_rng(1).uniform(-0.5, 1.5, (4, *shape))
    for number, mask in enumerate(masks):
        mask[: 7 * (number - 1)] = 1
    asked: dict[str, Any] = {
        "freeze_layer_norm": True,
        "options": SweepOptions(return_logits=True),
    }
    found = sweep_masks(model, *inputs, masks=masks, **asked)
    check(found, references(model, inputs, masks, "resample"))


def test_sets_and_single_positions(model: Transformer, inputs: Pair) -> None:
    asked: dict[str, Any] = {
        "freeze_layer_norm": True,
        "options": SweepOptions(return_logits=True),
    }
    cuts = [SPACE.edges[:2], SPACE.edges[3:40:6], SPACE.edges[-2:]]
    masks = 1 - np.stack([edge_mask(cut, 2, 2) for cut in cuts])
    found = sweep_cuts(model, *inputs, cuts=cuts, **asked)
    check(found, references(model, inputs, masks, "resample"))
    found = sweep_edges(model, *inputs, positions=[2], **asked)
    masks = np.ones((len(SPACE.edges), *edge_mask([], 2, 2).shape, CONFIG.n_ctx))
    for mask, edge in zip(masks, SPACE.edges, strict=True):
        mask[..., 2] -= edge_mask([edge], 2, 2)
    check(found, references(model, inputs, masks, "resample")[:, None])


@pytest.mark.slow
def test_neurons(model: Transformer, inputs: Pair) -> None:
    clean, corrupted = inputs
    found = sweep_neurons(
        model, *inputs, freeze_layer_norm=True, options=SweepOptions(return_logits=True)
    )
    assert found.logits is not None
    _, cache = run_with_cache(model, corrupted)
    _, own = run_with_cache(model, clean)
    scales = {name: array for name, array in own.items() if name.endswith("hook_scale")}
    frozen = {name: lambda _, kept=kept: kept for name, kept in scales.items()}
    for number in (0, 7, 8, len(found.names) - 1):
        neuron = found.names[number]
        hook = f"blocks.{neuron.layer}.mlp.hook_post"

        def replace(post: jax.Array, i: int = neuron.index, name: str = hook) -> jax.Array:
            return post.at[..., i].set(cache[name][..., i])

        expected = run_with_hooks(model, clean, {**frozen, hook: replace})
        np.testing.assert_allclose(found.logits[number], expected, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
def test_many_models(inputs: Pair, stacked: bool) -> None:
    models = [
        build_model(config, random_weights(config, seed=seed))
        for seed, config in enumerate([CONFIG, PLAIN, CONFIG])
    ]
    clean, corrupted = [inputs[0]] * 3, [inputs[1]] * 3
    found = sweep_many(models, clean, corrupted, stacked=stacked, freeze_layer_norm=True)
    for model, result in zip(models, found, strict=True):
        alone = sweep_edges(model, *inputs, freeze_layer_norm=True)
        np.testing.assert_allclose(result.effects, alone.effects, rtol=0, atol=5e-6)


@pytest.mark.slow
def test_chunks_do_not_change_the_result(model: Transformer, inputs: Pair) -> None:
    whole = sweep_edges(model, *inputs, ablation=ABLATIONS, freeze_layer_norm=True)
    budget = whole.plan.bytes_held // 30
    parts = sweep_edges(
        model,
        *inputs,
        ablation=ABLATIONS,
        freeze_layer_norm=True,
        options=SweepOptions(max_bytes=budget),
    )
    assert parts.plan.chunks.rows < whole.plan.chunks.rows
    assert parts.plan.chunks.batch < len(inputs[0])
    np.testing.assert_allclose(parts.effects, whole.effects, rtol=0, atol=1e-12)


def test_nothing_changes_where_nothing_is_cut(model: Transformer, inputs: Pair) -> None:
    clean, _ = inputs
    same = sweep_edges(
        model, clean, clean, freeze_layer_norm=True, options=SweepOptions(return_logits=True)
    )
    check(same, np.broadcast_to(np.asarray(model(clean)), (len(SPACE.edges), *model(clean).shape)))


def test_a_model_without_layer_norm_is_not_affected(inputs: Pair) -> None:
    model = build_model(PLAIN, random_weights(PLAIN, seed=3))
    own = sweep_edges(model, *inputs)
    before = programs.n_compiled()
    frozen = sweep_edges(model, *inputs, freeze_layer_norm=True)
    np.testing.assert_array_equal(frozen.effects, own.effects)
    assert programs.n_compiled() == before, "the same programs serve both"


def test_the_output_is_linear_in_the_edges_into_it(model: Transformer, inputs: Pair) -> None:
    """With a frozen layer norm, cutting two edges into the output adds up their effects."""
    last = [edge for edge in SPACE.edges if edge.dst == SPACE.edges[-1].dst]
    cuts = [(edge,) for edge in last] + [(last[0], edge) for edge in last[1:]]

    def first_logit(logits: jax.Array, clean: jax.Array, targets: Targets) -> jax.Array:
        return (clean - logits)[..., 0].mean(axis=1)

    for freezes in (True, False):
        found = sweep_cuts(model, *inputs, cuts=cuts, metric=first_logit, freeze_layer_norm=freezes)
        single, both = np.split(found.effects, [len(last)])
        error = abs(both - single[0] - single[1:]).max()
        assert error <= 1e-13 if freezes else error > 1e-3


class Stop(Exception):
    """The exception that stops a sweep early."""


def stop(done: int, total: int) -> None:
    if done == 2:
        raise Stop


@pytest.mark.slow
def test_saved_sweeps_are_distinguished(inputs: Pair, tmp_path: Path) -> None:
    model = build_model(CONFIG, random_weights(CONFIG, seed=3))
    expected = [sweep_edges(model, *inputs, freeze_layer_norm=each) for each in (False, True)]
    with pytest.raises(ValueError, match="at least") as error:
        sweep_edges(model, *inputs, options=SweepOptions(max_bytes=1))
    budget = 3 * int(str(error.value).split()[5].rstrip(","))
    for freezes in (False, True):
        how = SweepOptions(max_bytes=budget, save_to=tmp_path / str(freezes))
        with pytest.raises(Stop):
            sweep_edges(
                model, *inputs, freeze_layer_norm=freezes, options=replace(how, progress=stop)
            )
        with pytest.raises(ValueError, match=r"form\.freeze_layer_norm: expected .*, found"):
            sweep_edges(model, *inputs, freeze_layer_norm=not freezes, options=how)
        resumed = sweep_edges(model, *inputs, freeze_layer_norm=freezes, options=how)
        np.testing.assert_allclose(resumed.effects, expected[freezes].effects, rtol=0, atol=1e-6)
        with pytest.raises(ValueError, match=r"form\.freeze_layer_norm: expected .*, found"):
            sweep_edges(model, *inputs, freeze_layer_norm=not freezes, options=how)
    assert abs(expected[True].effects - expected[False].effects).max() > 1e-2


def test_other_inputs_do_not_compile_again(inputs: Pair) -> None:
    model = build_model(CONFIG, random_weights(CONFIG, seed=3))
    sweep_edges(model, *inputs, freeze_layer_norm=True)
    before = programs.n_compiled()
    sweep_edges(model, *inputs[::-1], freeze_layer_norm=True)
    assert programs.n_compiled() == before
