"""Which epoch's weights, and which seed's, become the model."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import Recipe
from interpbench_jax.training.evaluation import Accuracies
from interpbench_jax.training.losses import Losses
from interpbench_jax.training.stack import Stack, stack_tasks
from interpbench_jax.training.trainer import Standing, _best_of, _judge, _start
from tests.training.tiny_tasks import MOODS, SHORT

Epoch = tuple[float, float]
SUFFICES = replace(SHORT, target=0.99995, target_loss=1e-9)


def accuracies(lowest: float) -> Accuracies:
    return Accuracies(lowest, {}, {}, {}, {}, None)


def judged(recipe: Recipe, *epochs: Sequence[Epoch]) -> tuple[Stack, Standing]:
    """The standing after epochs with these lowest accuracies and losses, one for each seed.

    The weights of epoch n are all n.
    """
    (stack,) = stack_tasks([MOODS], tuple(range(len(epochs[0]))), recipe)
    standing = _start(stack, stack.start())
    for epoch, found in enumerate(epochs, start=1):
        weights = jax.tree.map(lambda leaf, n=epoch: jnp.full_like(leaf, n), standing.best)
        standing = standing._replace(state=standing.state._replace(average=weights))
        nothing = jnp.zeros((len(found), 1))
        loss = jnp.asarray([[each] for _, each in found])
        # The loss on attention does not count.
        losses = Losses(loss, nothing, nothing, nothing, nothing + 100 / epoch)
        lowest = tuple(accuracies(score) for score, _ in found)
        standing = _judge(stack, standing, losses, lowest, np.ones(len(found), bool), epoch)
    return stack, standing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        (((0.5, 3.0), (0.9, 2.0), (0.8, 1.0)), 2),
        (((0.9, 3.0), (0.9, 1.0), (0.9, 2.0)), 2),
        # A few inputs more or less are no reason to keep losses a thousand times as large.
        (((0.9997, 1e-2), (0.9995, 1e-5)), 2),
        (((0.9997, 1e-5), (1.0, 1e-2)), 1),
        # What no certificate lets pass is another matter.
        (((0.9995, 1e-2), (0.9985, 1e-5)), 1),
    ],
)
def test_the_lowest_losses_decide_once_accuracies_suffice(
    epochs: tuple[Epoch, ...], best: int
) -> None:
    stack, standing = judged(SUFFICES, *([epoch] for epoch in epochs))
    assert standing.epoch.tolist() == [best]
    found = _best_of(stack, standing, (accuracies(1.0),), 0, [])
    assert {float(leaf.max()) for leaf in found.case.weights.values()} == {float(best)}
    assert found.epoch == best


def test_training_that_stops_by_accuracy_keeps_the_highest() -> None:
    recipe = replace(SUFFICES, target=0.9999, target_loss=None)
    _, standing = judged(recipe, [(0.9995, 1e-5)], [(0.9999, 1e-2)])
    assert standing.epoch.tolist() == [2]
    assert not standing.is_active.any()


def test_the_seed_with_the_lowest_losses_is_kept() -> None:
    stack, standing = judged(SUFFICES, [(1.0, 1e-2), (0.9995, 1e-4), (0.9, 1e-6)])
    found = _best_of(stack, standing, (accuracies(1.0),) * 3, 0, [])
    assert found.case.provenance["seed"] == 1
