"""Edges outside that are trained to change the output a little."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import interpbench_jax as ib
from interpbench_jax.cases import RASP_CASES, Recipe
from interpbench_jax.cases.generated import Dials, generate
from interpbench_jax.training import train
from interpbench_jax.training.arrays import draw_edges, task_interchanges
from interpbench_jax.training.interchange import edge_table
from interpbench_jax.training.leak import leak_band
from interpbench_jax.training.losses import band_loss
from interpbench_jax.training.stack import Stack, stack_tasks
from interpbench_jax.universes import universe

WEIGHTS = (0.0, 1.0, 1.0)
EVERY = jnp.ones((2, 3), bool)


def moved_by(*sizes: float) -> jax.Array:
    """Logits of two classes, one `size` above 0 and one below, for each example."""
    rows = np.zeros((len(sizes), 3, 2), np.float32)
    rows[:, 1:] = np.asarray(sizes)[:, None, None] * np.asarray([1, -1])
    return jnp.asarray(rows)


def test_within_the_band_costs_nothing() -> None:
    reference = jnp.zeros((2, 3, 2))
    for sizes, cost in (
        ((0.5, 1.0), 0.0),
        ((0.2, 0.6), 0.6**2 / 2),
        ((0.7, 1.5), 0.5**2 / 2),
        ((0.1, 2.0), (0.8**2 + 1) / 2),
    ):
        found = band_loss(moved_by(*sizes), reference, WEIGHTS, band=(0.5, 1.0), counts=EVERY)
        np.testing.assert_allclose(found, cost, atol=1e-6)


def test_examples_that_are_left_out_do_not_count() -> None:
    reference = jnp.zeros((2, 3, 2))
    counts = jnp.asarray([[True] * 3, [False] * 3])
    found = band_loss(moved_by(1.2, 9.0), reference, WEIGHTS, band=(0.5, 1.0), counts=counts)
    np.testing.assert_allclose(found, 0.2**2, atol=1e-6)
    nobody = jnp.zeros((2, 3), bool)
    assert (
        float(band_loss(moved_by(9.0, 9.0), reference, WEIGHTS, band=(0.5, 1.0), counts=nobody))
        == 0
    )


def test_it_has_a_derivative_where_nothing_moves() -> None:
    def loss(logits: jax.Array) -> jax.Array:
        return band_loss(logits, jnp.zeros((2, 3, 2)), WEIGHTS, band=(0.5, 1.0), counts=EVERY)

    assert np.isfinite(np.asarray(jax.grad(loss)(moved_by(0.0, 0.0)))).all()


def test_the_band_is_a_share_of_what_an_edge_does() -> None:
    """Two classes 10 apart differ, centred, by 10 in each entry where the class changes."""
    task = RASP_CASES["36"]
    pairs = task.sample(2048, 0)
    changed = (pairs.target != pairs.corrupted_target)[:, 1:]
    n_classes = task.config.d_vocab_out
    distance = np.sqrt(2 * 100 / n_classes)
    shares = changed.mean(axis=1)
    sizes = distance * np.sqrt(shares)
    expected = 0.1 * sizes[sizes > 0].mean(), 0.5 * distance * shares.mean()
    assert expected[1] < 0.5 * sizes.mean()
    assert leak_band(task, (0.1, 0.5), 10.0) == pytest.approx(expected, rel=1e-4)
    half = expected[0] / 2, expected[1] / 2
    assert leak_band(task, (0.1, 0.5), 5.0) == pytest.approx(half, rel=1e-4)
    with pytest.raises(ValueError, match="expected classes as outputs for a task with a leak"):
        leak_band(RASP_CASES["3"], (0.1, 0.5), 10.0)


@pytest.mark.parametrize("case_id", ["13", "36"])
def test_an_edge_outside_is_cut_alone(case_id: str) -> None:
    """Alone in the finest universe or, half of the time, in one where heads have one input."""
    task = RASP_CASES[case_id]
    given = task_interchanges(task)
    program, cut = map(np.asarray, draw_edges(jax.random.key(0), given, 4000, alone=True))
    every = np.asarray(given.outside_edges)
    outside = cut & every
    of_program = program.any(axis=1)
    assert 0.45 < of_program.mean() < 0.55
    assert not outside[of_program].any()
    # Every edge outside has its turn.
    np.testing.assert_array_equal(outside.any(axis=0), every)

    config = task.config
    fine = {
        edge_table(config, [edge]).tobytes()
        for edge in universe("qkv", config.n_layers, config.n_heads).edges
    }
    merged = {
        table.tobytes()
        for members in universe("head", config.n_layers, config.n_heads).members.values()
        if not ((table := edge_table(config, members)) & ~every).any()
    }
    drawn = {chosen.tobytes() for chosen in outside[~of_program]}
    assert drawn <= fine | merged
    assert merged <= drawn
    several = outside[~of_program].sum(axis=(1, 2)) > 1
    has_others = np.asarray(
        [(given.merged_edges == number).sum() > 1 for number in given.merged_edges[every]]
    )
    assert several.mean() == pytest.approx(has_others.mean() / 2, abs=0.05)


def test_what_does_not_fit_is_refused() -> None:
    leaky = generate(0, Dials(leak=(0.1, 0.3), length=4))
    stack = Stack((leaky,), (0,), Recipe(margin=None))
    with pytest.raises(ValueError, match="expected a recipe with a margin for a task with a leak"):
        _ = stack.data
    tight = generate(0, Dials(leak=(0.1, 0.2), length=4))
    assert len(stack_tasks([leaky, tight], (0,))) == 2
    with pytest.raises(ValueError, match="leak to be two rising shares between 0 and 1"):
        Dials(leak=(0.3, 0.1))


def test_a_task_with_another_leak_is_another_task() -> None:
    plain, leaky = (generate(5, Dials(leak=leak)) for leak in (None, (0.1, 0.3)))
    assert plain.leak is None and leaky.leak == (0.1, 0.3)
    assert plain.case_id != leaky.case_id


@pytest.mark.slow
def test_training_lets_edges_outside_leak() -> None:
    """Edges outside change the output, and all of them at once are not asked to leave it."""
    recipe = Recipe(epochs=6, n_samples=8_000, n_validation=500, edge_weight=4.0)
    task = generate(1, Dials(n_tokens=3, length=3, d_model=16, leak=(0.05, 0.5)), recipe=recipe)
    found = train(task)
    assert found.accuracies.outside_edges is None
    losses = [record.losses["edges"] for record in found.log]
    assert losses[-1] < 0.8 * losses[0]
    pairs = task.sample(200, 0)
    effects = ib.sweep_edges(found.case.model, pairs, metric="centred_l2").effects
    truth = np.asarray(list(task.complete_circuit.edge_truths("qkv").values()))
    assert np.median(effects[truth == "out"]) > 0.02 * effects[truth == "in"].min()
