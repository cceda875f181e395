"""Training in stages, the first with narrow MLPs."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import Recipe
from interpbench_jax.model import Transformer
from interpbench_jax.training import train
from interpbench_jax.training.arrays import initial_weights, widen_mlps
from interpbench_jax.training.result import EpochRecord
from interpbench_jax.training.stack import Stack
from interpbench_jax.training.trainer import _handed_on, _start
from tests.training.tiny_tasks import MOODS, PROMPTS, SENTENCES, SHORT

FIRST = dataclasses.replace(SHORT, epochs=1, learning_rate=1e-3, d_mlp=3, labels="dense")
SECOND = dataclasses.replace(FIRST, epochs=1, learning_rate=5e-4, labels="own", before=FIRST)
GROWN = dataclasses.replace(SHORT, epochs=2, before=SECOND)


@pytest.mark.slow
def test_a_wider_model_computes_the_same() -> None:
    narrow = initial_weights(MOODS, SHORT, seed=0, d_mlp=3)
    wide = initial_weights(MOODS, SHORT, seed=1)
    grown = widen_mlps(narrow, wide)
    tokens = jnp.asarray(MOODS.sample(20, 0).input_ids)
    small = dataclasses.replace(MOODS.config, d_mlp=3)
    np.testing.assert_allclose(
        Transformer(MOODS.config, grown)(tokens), Transformer(small, narrow)(tokens), atol=1e-6
    )
    assert {name: array.shape for name, array in grown.items()} == {
        name: array.shape for name, array in wide.items()
    }
    # The new units read what the wide model's do, and can learn to write.
    new = np.s_[:, 3:]
    np.testing.assert_array_equal(grown["blocks.0.mlp.W_in"][new], wide["blocks.0.mlp.W_in"][new])
    assert not grown["blocks.0.mlp.W_out"][3:].any()


def test_models_of_a_stack_are_widened_together() -> None:
    stacks = [initial_weights(MOODS, SHORT, seed, d_mlp=3) for seed in (0, 1)]
    wide = [initial_weights(MOODS, SHORT, seed) for seed in (2, 3)]
    stacked = [jax.tree.map(lambda *arrays: jnp.stack(arrays), *each) for each in (stacks, wide)]
    together = widen_mlps(*stacked)
    for model in (0, 1):
        alone = widen_mlps(stacks[model], wide[model])
        for name, array in alone.items():
            np.testing.assert_array_equal(together[name][model], array)


@pytest.mark.slow
def test_epochs_are_counted_through(tmp_path: Path) -> None:
    totals: list[int] = []
    trained = train(
        MOODS, recipe=GROWN, directory=tmp_path, progress=lambda _, total: totals.append(total)
    )
    assert [record.epoch for record in trained.log] == [1, 2, 3, 4]
    assert trained.epoch in (3, 4) and trained.case.config == MOODS.config
    assert totals == [1, 2, 4, 4]
    again = train(MOODS, recipe=GROWN, directory=tmp_path)  # nothing is left to do
    assert again.case.provenance["weights_sha256"] == trained.case.provenance["weights_sha256"]
    assert [record.epoch for record in again.log] == [1, 2, 3, 4]


class Stopped(Exception):
    """As if the process were killed after an epoch."""


@pytest.mark.slow
@pytest.mark.parametrize("last", [1, 2, 3])
def test_it_goes_on_in_every_stage(tmp_path: Path, last: int) -> None:
    def stop(records: object, total: int) -> None:
        done.append(total)
        if len(done) == last:
            raise Stopped

    done: list[int] = []
    with pytest.raises(Stopped):
        train(MOODS, recipe=GROWN, directory=tmp_path, progress=stop)
    resumed = train(MOODS, recipe=GROWN, directory=tmp_path)
    whole = train(MOODS, recipe=GROWN)
    digests = [each.case.provenance["weights_sha256"] for each in (resumed, whole)]
    assert digests[0] == digests[1]
    assert [record.epoch for record in resumed.log] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_changed_end_goes_on_from_the_stages_before_it(tmp_path: Path) -> None:
    train(MOODS, recipe=GROWN, directory=tmp_path)
    other = dataclasses.replace(GROWN, learning_rate=1e-4)
    seen: list[int] = []

    def note(records: tuple[EpochRecord, ...], total: int) -> None:
        seen.extend(record.epoch for record in records)

    resumed = train(MOODS, recipe=other, directory=tmp_path, progress=note)
    whole = train(MOODS, recipe=other)
    assert seen == [3, 4]
    digests = [each.case.provenance["weights_sha256"] for each in (resumed, whole)]
    assert digests[0] == digests[1]
    stack = Stack((MOODS,), (0,), other)
    assert stack.is_begun_in(tmp_path)
    stack.remove_from(tmp_path)
    assert not stack.is_begun_in(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [
        Stack((MOODS,), (0,), GROWN).folder_in(tmp_path).name
    ]


def test_a_stage_hands_on_its_last_weights() -> None:
    stack = Stack((MOODS,), (0, 1), FIRST)
    standing = _start(stack, stack.start())
    last = jax.tree.map(lambda array: array + 1, standing.best)
    # The second model has left the numbers.
    name = "blocks.0.mlp.W_in"
    last[name] = last[name].at[1, 0, 0].set(jnp.nan)
    standing = standing._replace(state=standing.state._replace(average=last))
    for key, array in _handed_on(standing).items():
        np.testing.assert_array_equal(array[0], standing.best[key][0] + 1)
        np.testing.assert_array_equal(array[1], standing.best[key][1])


def test_an_earlier_stage_is_another_stack() -> None:
    assert GROWN.stages == (FIRST, SECOND, GROWN)
    stack = Stack((PROMPTS,), (0,), GROWN)
    second = stack.before
    assert second is not None and second.before is not None
    first = second.before
    assert first.before is None and (first.recipe, second.recipe) == (FIRST, SECOND)
    widths = [each.config.d_mlp for each in (first, second, stack)]
    assert widths == [3, 3, PROMPTS.config.d_mlp]
    # Only the first is trained on every position.
    assert [each.epoch.tasks for each in (second, stack)] == [(PROMPTS,)] * 2
    (dense,) = first.epoch.tasks
    assert dense.loss_weights == SENTENCES.loss_weights != PROMPTS.loss_weights


def test_no_wider_than_the_task() -> None:
    wide = dataclasses.replace(GROWN, before=dataclasses.replace(FIRST, d_mlp=10_000))
    before = Stack((MOODS,), (0,), wide).before
    assert before is not None and before.config.d_mlp == MOODS.config.d_mlp


def test_the_end_has_the_tasks_mlps() -> None:
    with pytest.raises(ValueError, match="Expected d_mlp=None in the recipe that training ends"):
        train(MOODS, recipe=FIRST)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_mlp": 0}, "Expected d_mlp to be an int of at least 1, or None; got 0"),
        ({"d_mlp": 2, "before": FIRST}, "at most the 2 of the recipe that follows, got 3"),
        ({"d_mlp": 2, "before": SHORT}, "at most the 2 of the recipe that follows, got None"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**changes)  # pyright: ignore[reportArgumentType]
