"""Training as a whole: its accuracy, its independence of stacking, resuming and failing."""

import dataclasses
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from interpbench_jax.cases import CASES, IoiTask, Recipe
from interpbench_jax.cases.recipe import Replaced, Update
from interpbench_jax.training import EpochRecord, Trained, TrainingError, train, train_many
from interpbench_jax.training.stack import stack_tasks
from interpbench_jax.training.trainer import LOG_FILE, _start, _train_epoch
from tests.training.tiny_tasks import LETTERS, MOODS, PROMPTS, SENTENCES, SHORT


def assert_same_weights(one: Trained, other: Trained) -> None:
    """Assert that the weights are equal bit for bit."""
    assert one.case.provenance["weights_sha256"] == other.case.provenance["weights_sha256"]


def without_seconds(log: tuple[EpochRecord, ...]) -> list[EpochRecord]:
    return [
        dataclasses.replace(record, training_seconds=0.0, validation_seconds=0.0) for record in log
    ]


@pytest.mark.slow
def test_a_case_reaches_its_target(tmp_path: Path) -> None:
    recipe = Recipe(epochs=12, batch_size=64, n_samples=2_000, n_validation=300, target_loss=None)
    trained = train("36", recipe=recipe)
    assert trained.has_reached_target and trained.accuracies.lowest >= recipe.target
    assert len(trained.log) == trained.epoch < 12  # it stops at its target
    assert [record.epoch for record in trained.log] == [*range(1, trained.epoch + 1)]
    case, task = trained.case, CASES["36"]
    assert case.circuit == task.complete_circuit and case.task is task
    test = task.sample(1_000, 0, split="test")
    found = np.asarray(case.model(jax.numpy.asarray(test.input_ids))).argmax(axis=-1)
    assert (found[:, 1:] == test.target[:, 1:]).mean() > 0.999
    made = case.provenance
    assert (made["source"], made["seed"], made["seeds"]) == ("trained", 0, [0])
    assert made["recipe"] == dataclasses.asdict(recipe)
    case.save(tmp_path)


@pytest.fixture(scope="module")
def pair() -> Trained:
    """Train two seeds of one task."""
    return train(MOODS, seeds=2, recipe=SHORT)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(pair: Trained) -> None:
    again = train(MOODS, seeds=2, recipe=SHORT)
    assert_same_weights(again, pair)
    assert without_seconds(again.log) == without_seconds(pair.log)


@pytest.mark.slow
@pytest.mark.optimized  # Without optimizations, code for two models sums in another order.
def test_a_seed_does_not_depend_on_the_others() -> None:
    pair = train(MOODS, seeds=2, recipe=SHORT)
    alone = train(MOODS, seeds=(pair.seed,), recipe=SHORT)
    assert_same_weights(alone, pair)
    own = tuple(record for record in pair.log if record.seed == pair.seed)
    assert without_seconds(alone.log) == without_seconds(own)


@pytest.mark.slow
def test_stacked_tasks_become_what_they_become_alone(pair: Trained) -> None:
    assert MOODS.config.d_vocab != LETTERS.config.d_vocab
    assert MOODS.config.d_vocab_out != LETTERS.config.d_vocab_out
    assert len(stack_tasks((MOODS, LETTERS), (0, 1), SHORT)) == 1
    letters = train(LETTERS, seeds=2, recipe=SHORT)
    together = train_many((LETTERS, MOODS), seeds=2, recipe=SHORT)
    for stacked, alone in zip(together, (letters, pair), strict=True):
        assert (stacked.case.case_id, stacked.seed) == (alone.case.case_id, alone.seed)
        assert stacked.case.vocab == alone.case.vocab
        for name, weights in alone.case.weights.items():
            # Adam divides by the gradient's size, which amplifies rounding errors of small ones.
            np.testing.assert_allclose(stacked.case.weights[name], weights, atol=1e-4, err_msg=name)
        losses = [[record.losses[name] for record in alone.log] for name in ("strict", "behavior")]
        found = [[record.losses[name] for record in stacked.log] for name in ("strict", "behavior")]
        np.testing.assert_allclose(found, losses, rtol=1e-3)


def test_tasks_with_unlike_inputs_are_not_stacked() -> None:
    # Both have 19,683 inputs, but their training splits have 15,759 and 15,606.
    assert len(stack_tasks((CASES["13"], CASES["38"]), (0,), Recipe())) == 2
    assert len(stack_tasks((CASES["21"], CASES["24"]), (0,), Recipe())) == 1
    assert len(stack_tasks((CASES["3"], CASES["11"]), (0,), SHORT)) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("update", "replaced"), [("sum", "both"), ("sum", "either"), ("alternate", "both")]
)
def test_every_update_learns(update: Update, replaced: Replaced) -> None:
    recipe = dataclasses.replace(
        SHORT,
        update=update,
        replaced=replaced,
        learning_rate=1e-2,
        # Updates on one loss at a time undo what another has learned, most with bounded logits.
        margin=None if update == "alternate" else 10.0,
        epochs=45,
        average_decay=0.5,
    )
    trained = train(MOODS, recipe=recipe)
    first, last = trained.log[0].losses, trained.log[-1].losses
    names = ("interchange", "strict", "behavior", "edges")
    assert all(last[name] < first[name] / 3 for name in names)
    assert trained.accuracies.lowest > 0.9


@pytest.mark.slow
def test_both_is_another_training_that_repeats(pair: Trained) -> None:
    assert SHORT.replaced == "either"
    recipe = dataclasses.replace(SHORT, replaced="both", epochs=2)
    one, other = (train(MOODS, seeds=(pair.seed,), recipe=recipe) for _ in range(2))
    assert_same_weights(one, other)
    assert without_seconds(one.log) == without_seconds(other.log)
    losses = [record.losses for record in one.log]
    assert len(losses) == 2 and np.isfinite([list(each.values()) for each in losses]).all()
    either = [record.losses for record in pair.log if record.seed == pair.seed]
    # The batches are the same, but only half of each is interchanged.
    assert losses[0]["interchange"] != either[0]["interchange"]
    assert losses[0]["behavior"] == pytest.approx(either[0]["behavior"], rel=0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_codes")
@pytest.mark.parametrize("task", [PROMPTS, SENTENCES], ids=lambda task: task.case_id)
def test_a_language_task_is_trained(task: IoiTask) -> None:
    recipe = dataclasses.replace(SHORT, replaced="either", epochs=2, learning_rate=1e-2)
    trained = train(task, recipe=recipe)
    losses = [record.losses for record in trained.log]
    assert len(losses) == 2 and np.isfinite([list(each.values()) for each in losses]).all()
    assert losses[1]["behavior"] < losses[0]["behavior"]
    assert trained.case.config == task.config and trained.case.vocab == task.tokens
    assert list(trained.accuracies.iia) == list(task.alignment)
    assert list(trained.accuracies.strict) == list(task.nodes_not_in_circuit)


def test_tasks_that_score_other_positions_are_not_stacked() -> None:
    assert len(stack_tasks((PROMPTS, SENTENCES), (0,), SHORT)) == 2
    other = dataclasses.replace(PROMPTS, case_id="others")
    assert len(stack_tasks((PROMPTS, other), (0,), SHORT)) == 1


@pytest.mark.slow
def test_a_second_epoch_does_not_compile_again() -> None:
    (stack,) = stack_tasks((MOODS,), (0, 1), SHORT)
    standing = _start(stack, stack.start())
    for epoch in (1, 2):
        standing, _ = _train_epoch(stack, standing, epoch)
        assert stack.epoch.run._cache_size() == 1  # pyright: ignore[reportFunctionMemberAccess]


@pytest.mark.slow
def test_losses_that_leave_the_numbers() -> None:
    recipe = dataclasses.replace(SHORT, learning_rate=1e30, clip_grad_norm=1e30)
    message = (
        r"Case 'moods': expected finite losses, but the (interchange|strict|behavior|edges) loss "
        r"became NaN or infinite in epoch 1, step 2 of 4, and no seed is left; lower the recipe's "
        r"learning_rate"
    )
    with pytest.raises(TrainingError, match=message):
        train(MOODS, seeds=2, recipe=recipe)


class Stopped(Exception):
    pass


def stop_after(epoch: int, records: tuple[EpochRecord, ...]) -> None:
    if records[0].epoch == epoch:
        raise Stopped


@pytest.mark.slow
@pytest.mark.versions
def test_a_stopped_training_goes_on(pair: Trained, tmp_path: Path) -> None:
    for epoch in (1, 2):
        with pytest.raises(Stopped):
            train(
                MOODS,
                seeds=2,
                recipe=SHORT,
                directory=tmp_path,
                progress=lambda records, _, epoch=epoch: stop_after(epoch, records),
            )
    (folder,) = tmp_path.iterdir()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["epoch_2"]
    (folder / "checkpoints" / "epoch_3.orbax-checkpoint-tmp-1").mkdir()
    (folder / f".{LOG_FILE}.abc").write_text("{")
    seen: list[int] = []
    went_on = train(
        MOODS,
        seeds=2,
        recipe=SHORT,
        directory=tmp_path,
        progress=lambda records, most: seen.append(records[0].epoch),
    )
    assert seen == [3]
    assert_same_weights(went_on, pair)
    assert without_seconds(went_on.log) == without_seconds(pair.log)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", LOG_FILE]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["epoch_3"]
    # A finished training run is read, not repeated.
    assert_same_weights(train(MOODS, seeds=2, recipe=SHORT, directory=tmp_path), pair)


def test_what_is_another_training_has_another_folder(tmp_path: Path) -> None:
    (node,) = MOODS.alignment
    moved = dataclasses.replace(MOODS, moved=((node, MOODS.nodes_not_in_circuit[:1]),))
    variants = [
        (MOODS, (0, 1), SHORT),
        (MOODS, (0, 2), SHORT),
        (MOODS, (0, 1), dataclasses.replace(SHORT, epochs=4)),
        (LETTERS, (0, 1), SHORT),
        (moved, (0, 1), SHORT),
    ]
    folders = set()
    for task, seeds, recipe in variants:
        (stack,) = stack_tasks((task,), seeds, recipe)
        folders.add(stack.folder_in(tmp_path))
        assert re.fullmatch("training-[0-9a-f]{12}", stack.folder_in(tmp_path).name)
    assert len(folders) == len(variants)


@pytest.mark.parametrize(
    ("tasks", "seeds", "message"),
    [
        (("36",), 0, "Expected one or more distinct seeds from 0, got 0"),
        (("36",), (1, 1), r"distinct seeds from 0, got \(1, 1\)"),
        (("36",), (-1,), r"distinct seeds from 0, got \(-1,\)"),
        (("99",), 1, "Expected the id of a case, a number and a release, .*; got '99'"),
        (("36", "36"), 1, "Expected tasks with different case ids"),
    ],
)
def test_arguments_that_are_refused(
    tasks: tuple[str, ...], seeds: int | tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train_many(tasks, seeds=seeds, recipe=SHORT)


def test_a_record_is_read_back() -> None:
    record = EpochRecord("11", 0, 3, {"strict": 0.5}, 0.25, 0.5, 0.5, 0.125, 0.75, 1.0, 2.0)
    assert EpochRecord.from_json(record.to_json()) == record
    assert record.lowest == 0.125
    lost = dataclasses.replace(record, losses={"strict": float("inf")})
    assert np.isnan(EpochRecord.from_json(lost.to_json()).losses["strict"])
    for line in ("", "[]", "{}", record.to_json()[:-1], record.to_json()[:-1] + ', "more": 1}'):
        with pytest.raises(ValueError, match="Expected a line of a training log"):
            EpochRecord.from_json(line)
