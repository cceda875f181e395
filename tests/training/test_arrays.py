"""Which nodes are drawn, how often, and which inputs are trained on."""

import dataclasses

import jax
import numpy as np
import pytest

from interpbench_jax.cases import CASES, RASP_CASES, Recipe
from interpbench_jax.cases.sequences import is_in_split
from interpbench_jax.sites import Kind, Node
from interpbench_jax.training.arrays import (
    Draw,
    Nodes,
    draw_nodes,
    initial_weights,
    n_training_inputs,
    task_nodes,
    training_inputs,
)
from interpbench_jax.training.interchange import node_mask
from interpbench_jax.weights import weight_shapes
from tests.training.tiny_tasks import TREND

SAMPLINGS = ("batch", "example", "subsets")
N_ALIGNED, N_OUTSIDE = len(TREND.alignment), len(TREND.nodes_not_in_circuit)
BATCH = 20_000


@pytest.fixture(scope="module")
def padded() -> Nodes:
    return task_nodes(TREND, N_ALIGNED + 3, N_OUTSIDE + 2)


def draw(nodes: Nodes, sampling: str, batch: int = BATCH, seed: int = 0) -> Draw:
    return jax.tree.map(np.asarray, draw_nodes(jax.random.key(seed), nodes, batch, sampling))


def chosen_outside(found: Draw) -> np.ndarray:
    """Per example, which of the nodes outside the circuit are replaced."""
    masks = np.stack([node_mask(TREND.config, (node,)) for node in TREND.nodes_not_in_circuit])
    return np.asarray((np.asarray(found.outside)[:, None] & masks[None]).any(axis=(2, 3)))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_only_what_may_be_drawn(padded: Nodes, sampling: str) -> None:
    found = draw(padded, sampling)
    variables = np.asarray(found.variables)
    assert not variables[:, N_ALIGNED:].any()
    assert variables.any(axis=1).all()
    aligned = np.stack([node_mask(TREND.config, nodes) for nodes in TREND.alignment.values()])
    union = (variables[:, :N_ALIGNED, None, None] & aligned[None]).any(axis=1)
    np.testing.assert_array_equal(found.aligned, union)
    outside = node_mask(TREND.config, TREND.nodes_not_in_circuit)
    assert not (np.asarray(found.outside) & ~outside[None]).any()
    assert np.asarray(found.outside).any(axis=(1, 2)).all()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_padding_changes_no_draw(padded: Nodes, sampling: str) -> None:
    alone = draw(task_nodes(TREND), sampling, 500)
    stacked = draw(padded, sampling, 500)
    np.testing.assert_array_equal(alone.variables, np.asarray(stacked.variables)[:, :N_ALIGNED])
    np.testing.assert_array_equal(alone.aligned, stacked.aligned)
    np.testing.assert_array_equal(alone.outside, stacked.outside)


def assert_shares(chosen: np.ndarray, share: float) -> None:
    """Each column is drawn with this probability, to five standard deviations."""
    deviation = (share * (1 - share) / len(chosen)) ** 0.5
    np.testing.assert_allclose(chosen.mean(axis=0), share, rtol=0, atol=5 * deviation)


def test_one_per_example(padded: Nodes) -> None:
    found = draw(padded, "example")
    variables, outside = np.asarray(found.variables)[:, :N_ALIGNED], chosen_outside(found)
    assert (variables.sum(axis=1) == 1).all() and (outside.sum(axis=1) == 1).all()
    assert_shares(variables, 1 / N_ALIGNED)
    assert_shares(outside, 1 / N_OUTSIDE)


def test_one_per_batch(padded: Nodes) -> None:
    draws = [draw(padded, "batch", 3, seed) for seed in range(400)]
    for found in draws:
        assert (np.asarray(found.variables) == np.asarray(found.variables)[:1]).all()
        assert (np.asarray(found.outside) == np.asarray(found.outside)[:1]).all()
    variables = np.stack([np.asarray(found.variables)[0, :N_ALIGNED] for found in draws])
    outside = np.stack([chosen_outside(found)[0] for found in draws])
    assert (variables.sum(axis=1) == 1).all() and (outside.sum(axis=1) == 1).all()
    assert_shares(variables, 1 / N_ALIGNED)
    assert_shares(outside, 1 / N_OUTSIDE)


def test_subsets(padded: Nodes) -> None:
    # One for certain, every other with probability 1/2.
    found = draw(padded, "subsets")
    variables, outside = np.asarray(found.variables)[:, :N_ALIGNED], chosen_outside(found)
    assert_shares(variables, 1 / 2 + 1 / (2 * N_ALIGNED))
    assert_shares(outside, 1 / 2 + 1 / (2 * N_OUTSIDE))
    codes = variables @ (1 << np.arange(N_ALIGNED))
    assert set(codes.tolist()) == set(range(1, 2**N_ALIGNED))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_nothing_to_draw(sampling: str) -> None:
    nodes = task_nodes(dataclasses.replace(RASP_CASES["36"], n_layers=1, n_heads=1))
    nothing = nodes._replace(n_outside=jax.numpy.int32(0))
    assert not np.asarray(draw(nothing, sampling, 50).outside).any()


@pytest.mark.parametrize(
    ("case_id", "n_samples", "size"),
    [
        ("3", 120_000, 96_000),  # 256 inputs: repeated
        ("13", 120_000, 15_759),  # 19,683 inputs: every one of the split
        ("13", 10_000, 8_000),  # more inputs than are asked for
        ("11", 10_000, 8_000),
        ("11", 100, 256),  # never less than a batch
    ],
)
def test_training_inputs(case_id: str, n_samples: int, size: int) -> None:
    task, recipe = RASP_CASES[case_id], Recipe(n_samples=n_samples)
    inputs = training_inputs(task, recipe, 0)
    assert inputs.shape == (size, task.max_seq_len) and inputs.dtype == np.int32
    assert is_in_split(inputs, task.space.pad, "train").all()
    assert (inputs[:, 0] == task.space.bos).all()
    np.testing.assert_array_equal(inputs, training_inputs(task, recipe, 0))


def test_training_inputs_of_prompts() -> None:
    task = CASES["ioi"]
    every = {row.tobytes() for row in task.all_inputs("train")}
    drawn = training_inputs(task, Recipe(n_samples=1_000), 0)  # there are more
    assert (drawn.shape, drawn.dtype) == ((800, 16), np.int32)
    assert {row.tobytes() for row in drawn} <= every
    listed = training_inputs(task, Recipe(n_samples=120_000), 0)
    assert len(listed) == n_training_inputs(task, Recipe(n_samples=120_000)) == len(every)
    assert {row.tobytes() for row in listed} == every


def test_a_batch_larger_than_the_split_is_filled() -> None:
    task, recipe = CASES["13"], Recipe(batch_size=20_000)
    inputs = training_inputs(task, recipe, 0)
    assert len(inputs) == 20_000 and len(np.unique(inputs, axis=0)) == 15_759


@pytest.mark.slow
def test_initial_weights() -> None:
    task = CASES["19"]
    shapes = weight_shapes(task.config)
    make = jax.jit(lambda seed: initial_weights(task, Recipe(), seed), static_argnums=0)
    weights = make(0)
    assert {name: array.shape for name, array in weights.items()} == shapes
    for name, array in weights.items():
        if name.rsplit(".", 1)[1].startswith("b_"):
            assert not np.asarray(array).any()
    drawn = np.concatenate([np.ravel(array) for array in weights.values()])
    drawn = drawn[drawn != 0]
    assert abs(drawn.mean()) < 5 * 0.2 / len(drawn) ** 0.5
    assert abs(drawn.std() - 0.2) < 5 * 0.2 / (2 * len(drawn)) ** 0.5
    other = make(1)
    assert not np.array_equal(weights["embed.W_E"], other["embed.W_E"])


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 0.25])
def test_nodes_outside_may_write_less_at_first(scale: float) -> None:
    recipes = [Recipe(outside_scale=each) for each in (1.0, scale)]
    make = jax.jit(lambda: [initial_weights(TREND, recipe, 0) for recipe in recipes])
    plain, scaled = make()
    outside, config = TREND.nodes_not_in_circuit, TREND.config
    expected = {name: np.array(array) for name, array in plain.items()}
    for layer in range(config.n_layers):
        for head in range(config.n_heads):
            if Node(Kind.HEAD, layer, head) in outside:
                expected[f"blocks.{layer}.attn.W_O"][head] *= scale
        if Node(Kind.MLP_POST, layer) in outside:
            expected[f"blocks.{layer}.mlp.W_out"] *= scale
    changed = {name for name in expected if not np.array_equal(expected[name], plain[name])}
    assert changed and all(name.endswith(("W_O", "W_out")) for name in changed)
    assert set(scaled) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(scaled[name], array, err_msg=name)


def test_variables_are_drawn_by_their_odds() -> None:
    nodes = task_nodes(CASES["ioi"])
    draw = draw_nodes(jax.random.key(0), nodes, 7_000, "mixed", (1.0, 4.0, 1.0, 1.0))
    chosen = np.asarray(draw.variables)
    np.testing.assert_array_equal(chosen.sum(axis=1), 1)
    np.testing.assert_allclose(chosen.mean(axis=0), [1 / 7, 4 / 7, 1 / 7, 1 / 7], atol=0.02)
    with pytest.raises(ValueError, match="variable_odds for each of 4 variables, got"):
        draw_nodes(jax.random.key(0), nodes, 8, "mixed", (1.0, 2.0))
    with pytest.raises(ValueError, match="Expected variable_odds as numbers above 0"):
        Recipe(variable_odds=(1.0, 0.0))
