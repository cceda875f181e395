"""The distribution of the drawn nodes and edges, and the training inputs."""

import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import CASES, RASP_CASES, Recipe, Task
from interpbench_jax.cases.recipe import Sampling
from interpbench_jax.cases.sequences import is_in_split
from interpbench_jax.sites import Kind, Node
from interpbench_jax.training import arrays
from interpbench_jax.training.arrays import (
    Draw,
    Interchanges,
    draw_edges,
    draw_interchanges,
    initial_weights,
    n_training_inputs,
    task_interchanges,
    training_inputs,
)
from interpbench_jax.training.interchange import node_mask
from interpbench_jax.universes import universe
from interpbench_jax.weights import weight_shapes
from tests.training.tiny_tasks import PROMPTS, TREND

SAMPLINGS: tuple[Sampling, ...] = ("batch", "example", "subsets", "mixed")
N_ALIGNED, N_OUTSIDE = len(TREND.alignment), len(TREND.nodes_not_in_circuit)
BATCH = 20_000


@pytest.fixture(scope="module")
def padded() -> Interchanges:
    """Return interchanges padded as if stacked with a task that has more of everything."""

    def grow(rows: jax.Array, by: int) -> jax.Array:
        return jnp.pad(rows, [(0, by)] + [(0, 0)] * (rows.ndim - 1))

    own = task_interchanges(TREND)
    return own._replace(
        aligned=grow(own.aligned, 3),
        outside=grow(own.outside, 2),
        program_edges=grow(own.program_edges, 4),
    )


def draw(given: Interchanges, sampling: Sampling, batch: int = BATCH, seed: int = 0) -> Draw:
    recipe = Recipe(sampling=sampling)
    key = jax.random.key(seed)
    return jax.tree.map(np.asarray, draw_interchanges(key, given, batch, recipe))


def chosen_outside(found: Draw) -> np.ndarray:
    """Return, for each example, which of the nodes outside the circuit are replaced."""
    masks = np.stack([node_mask(TREND.config, (node,)) for node in TREND.nodes_not_in_circuit])
    return np.asarray((np.asarray(found.outside)[:, None] & masks[None]).any(axis=(2, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_only_what_may_be_drawn(padded: Interchanges, sampling: Sampling) -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_padding_changes_no_draw(padded: Interchanges, sampling: Sampling) -> None:
    alone = draw(task_interchanges(TREND), sampling, 500)
    stacked = draw(padded, sampling, 500)
    np.testing.assert_array_equal(alone.variables, np.asarray(stacked.variables)[:, :N_ALIGNED])
    np.testing.assert_array_equal(alone.aligned, stacked.aligned)
    np.testing.assert_array_equal(alone.outside, stacked.outside)
    n_edges = len(TREND.edge_alignment)
    np.testing.assert_array_equal(
        alone.program_edges, np.asarray(stacked.program_edges)[:, :n_edges]
    )
    np.testing.assert_array_equal(alone.cut, stacked.cut)


def assert_shares(chosen: np.ndarray, share: float) -> None:
    """Assert that each column is drawn with this probability, to five standard deviations."""
    deviation = (share * (1 - share) / len(chosen)) ** 0.5
    np.testing.assert_allclose(chosen.mean(axis=0), share, rtol=0, atol=5 * deviation)


@pytest.mark.slow
def test_one_per_example(padded: Interchanges) -> None:
    found = draw(padded, "example")
    variables, outside = np.asarray(found.variables)[:, :N_ALIGNED], chosen_outside(found)
    assert (variables.sum(axis=1) == 1).all() and (outside.sum(axis=1) == 1).all()
    assert_shares(variables, 1 / N_ALIGNED)
    assert_shares(outside, 1 / N_OUTSIDE)


@pytest.mark.slow
def test_one_per_batch(padded: Interchanges) -> None:
    draws = [draw(padded, "batch", 3, seed) for seed in range(400)]
    for found in draws:
        assert (np.asarray(found.variables) == np.asarray(found.variables)[:1]).all()
        assert (np.asarray(found.outside) == np.asarray(found.outside)[:1]).all()
    variables = np.stack([np.asarray(found.variables)[0, :N_ALIGNED] for found in draws])
    outside = np.stack([chosen_outside(found)[0] for found in draws])
    assert (variables.sum(axis=1) == 1).all() and (outside.sum(axis=1) == 1).all()
    assert_shares(variables, 1 / N_ALIGNED)
    assert_shares(outside, 1 / N_OUTSIDE)


@pytest.mark.slow
def test_subsets(padded: Interchanges) -> None:
    # One is always chosen, every other with probability 1/2.
    found = draw(padded, "subsets")
    variables, outside = np.asarray(found.variables)[:, :N_ALIGNED], chosen_outside(found)
    assert_shares(variables, 1 / 2 + 1 / (2 * N_ALIGNED))
    assert_shares(outside, 1 / 2 + 1 / (2 * N_OUTSIDE))
    codes = variables @ (1 << np.arange(N_ALIGNED))
    assert set(codes.tolist()) == set(range(1, 2**N_ALIGNED))


@pytest.mark.slow
def test_mixed(padded: Interchanges) -> None:
    """Half of the examples replace a single variable or node, half of them a subset."""
    found = draw(padded, "mixed")
    variables, outside = np.asarray(found.variables)[:, :N_ALIGNED], chosen_outside(found)
    for chosen, n in ((variables, N_ALIGNED), (outside, N_OUTSIDE)):
        assert_shares(chosen, (1 / n + 1 / 2 + 1 / (2 * n)) / 2)
    assert set((variables @ (1 << np.arange(N_ALIGNED))).tolist()) == set(range(1, 2**N_ALIGNED))


@pytest.mark.slow
def test_edges(padded: Interchanges) -> None:
    """The right edges are cut, with the right probabilities."""
    drawn, cut = map(np.asarray, draw_edges(jax.random.key(0), padded, BATCH))
    n_edges = len(TREND.edge_alignment)
    assert not drawn[:, n_edges:].any()
    # A quarter of the examples interchange a single edge of the program; in another quarter each
    # edge is interchanged with probability 1/2.
    assert_shares(drawn[:, :n_edges], 1 / 4 / n_edges + 1 / 8)
    assert_shares((drawn.sum(axis=1) == 0)[:, None], 1 / 2 + 1 / 4 / 2**n_edges)
    tables = np.asarray(padded.program_edges)
    inside = (drawn[:, :, None, None] & tables[None]).any(axis=1)
    outside = np.asarray(padded.outside_edges)
    np.testing.assert_array_equal(cut & ~outside, inside)
    n_outside = int(outside.sum())
    of_outside = cut[:, outside]
    assert of_outside.any(axis=1).all()
    expected = 1 / n_outside + (1 - 1 / n_outside) * (0.1 + 0.5) / 4
    assert_shares(of_outside, expected)
    assert_shares((of_outside.sum(axis=1) == 1)[:, None], 1 / 2)


@pytest.mark.slow
@pytest.mark.parametrize("task", [TREND, PROMPTS, RASP_CASES["3"]], ids=lambda task: task.case_id)
def test_edges_are_those_of_the_circuit(task: Task) -> None:
    given, config = task_interchanges(task), task.config
    inside = np.asarray(given.program_edges).any(axis=0)
    np.testing.assert_array_equal(inside, task.complete_circuit.mask().astype(bool))
    n_fine = len(universe("qkv", config.n_layers, config.n_heads).edges)
    outside = np.asarray(given.outside_edges)
    assert not (inside & outside).any() and inside.sum() + outside.sum() == n_fine


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_nothing_to_draw(sampling: Sampling) -> None:
    nodes = task_interchanges(dataclasses.replace(RASP_CASES["36"], n_layers=1, n_heads=1))
    nothing = nodes._replace(n_outside=jax.numpy.int32(0))
    assert not np.asarray(draw(nothing, sampling, 50).outside).any()


@pytest.mark.parametrize(
    ("case_id", "n_samples", "size"),
    [
        ("3", 120_000, 96_000),  # its 256 inputs are repeated
        ("13", 120_000, 15_759),  # of its 19,683 inputs, all in the split
        ("13", 10_000, 8_000),  # there are more inputs than requested
        ("11", 10_000, 8_000),
        ("11", 100, 128),  # at least one batch
        ("18", 10_000, 8_000),  # inputs of every length
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
    drawn = training_inputs(task, Recipe(n_samples=1_000), 0)  # there are more inputs
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
@pytest.mark.parametrize("large", [1 << 18, 40, 0])
def test_weights_are_those_of_a_draw_of_their_own(
    large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many a program draws together, so that models stay what they were."""
    monkeypatch.setattr(arrays, "_LARGE", large)
    weights = initial_weights(TREND, Recipe(), 3)
    key = jax.random.fold_in(jax.random.key(3), zlib.crc32(TREND.case_id.encode()))
    shapes = weight_shapes(TREND.config)
    assert list(weights) == list(shapes)
    for index, (name, shape) in enumerate(shapes.items()):
        own = jnp.float32(0.2) * jax.random.normal(jax.random.fold_in(key, index), shape)
        is_bias = name.rsplit(".", 1)[1].startswith("b_")
        np.testing.assert_array_equal(weights[name], jnp.zeros(shape) if is_bias else own)


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


@pytest.mark.slow
def test_variables_are_drawn_by_their_odds() -> None:
    given, key = task_interchanges(CASES["ioi"]), jax.random.key(0)
    recipe = Recipe(sampling="example", variable_odds=(1.0, 4.0, 1.0, 1.0))
    chosen = np.asarray(draw_interchanges(key, given, 7_000, recipe).variables)
    np.testing.assert_array_equal(chosen.sum(axis=1), 1)
    np.testing.assert_allclose(chosen.mean(axis=0), [1 / 7, 4 / 7, 1 / 7, 1 / 7], atol=0.02)
    with pytest.raises(ValueError, match="variable_odds for each of 4 variables, got"):
        draw_interchanges(key, given, 8, Recipe(variable_odds=(1.0, 2.0)))
    with pytest.raises(ValueError, match="Expected variable_odds to be numbers above 0"):
        Recipe(variable_odds=(1.0, 0.0))


def test_no_two_tasks_begin_alike() -> None:
    """Cases 21 and 24 have the same program, but their models differ."""
    first, second = (initial_weights(CASES[case_id], Recipe(), 0) for case_id in ("21", "24"))
    for name, array in first.items():
        is_bias = name.rsplit(".", 1)[1].startswith("b_")
        assert is_bias or not np.allclose(array, second[name])
