"""Invalid recipes are refused, and the recipes of release 1.0.0."""

import dataclasses
import json

import pytest

from interpbench_jax.cases import CASES, Recipe, TrainingArguments
from interpbench_jax.cases.recipe import then_silence


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosine"}, "schedule to be one of none, linear, plateau; got 'cosine'"),
        ({"update": "both"}, "Expected update to be one of sum, alternate; got 'both'"),
        ({"sampling": "all"}, r"Expected sampling to be one of batch, .*; got 'all'"),
        ({"replaced": "none"}, "Expected replaced to be one of both, either; got 'none'"),
        (
            {"replaced": "either", "update": "alternate"},
            "Expected update='sum' and an even batch_size with replaced='either', got 'alternate'",
        ),
        ({"replaced": "either", "batch_size": 33}, "got 'sum' and 33"),
        ({"epochs": 0}, "Expected epochs to be an int of at least 1, got 0"),
        ({"epochs": 2.0}, r"Expected epochs to be an int of at least 1, got 2\.0"),
        ({"batch_size": True}, "Expected batch_size to be an int of at least 1, got True"),
        ({"n_samples": -1}, "Expected n_samples to be an int of at least 1"),
        ({"n_validation": 0}, "Expected n_validation to be an int of at least 1"),
        ({"learning_rate": 0.0}, r"Expected learning_rate to be a number above 0, got 0\.0"),
        ({"learning_rate": float("nan")}, "Expected learning_rate to be a number above 0, got nan"),
        ({"clip_grad_norm": float("inf")}, "clip_grad_norm to be a number above 0, got inf"),
        ({"initializer_range": -0.1}, "Expected initializer_range to be a number above 0"),
        ({"atol": 0}, "Expected atol to be a number above 0"),
        ({"target": 1.01}, r"Expected target to be from 0 to 1, got 1\.01"),
        ({"target_loss": 0.0}, r"Expected target_loss to be a number above 0, or None; got 0\.0"),
        ({"outside_scale": 1.5}, r"Expected outside_scale to be from 0 to 1, got 1\.5"),
        ({"average_decay": -0.5}, "Expected average_decay to be from 0 to 1"),
        ({"betas": (0.9, 1.0)}, "Expected betas to be at least 0 and below 1"),
        ({"strict_weight": -1.0}, "Expected strict_weight to be a number of at least 0"),
        ({"iit_weight": float("nan")}, "Expected iit_weight to be a number of at least 0, got nan"),
        ({"edge_weight": -1.0}, "Expected edge_weight to be a number of at least 0"),
        ({"margin": 0.0}, r"Expected margin to be a number above 0, or None; got 0\.0"),
        ({"margin": float("inf")}, "Expected margin to be a number above 0, or None; got inf"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_recipe_that_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Recipe(), **changes)  # pyright: ignore[reportArgumentType]


def test_either_needs_an_even_batch_and_one_step() -> None:
    assert Recipe(replaced="either", batch_size=32).replaced == "either"
    # If both are replaced, the batch may have any size and the update may be any.
    assert Recipe(replaced="both", batch_size=33, update="alternate").replaced == "both"
    assert Recipe().replaced == "either"


def test_what_released_the_models() -> None:
    recipe = Recipe.released(CASES["36"].training)
    assert recipe == Recipe(
        learning_rate=1e-3,
        schedule="none",
        betas=(0.9, 0.9),
        clip_grad_norm=0.1,
        epochs=2000,
        batch_size=256,
        n_validation=24_000,
        strict_weight=100.0,  # a weight of 10, applied twice
        edge_weight=0.0,
        margin=None,
        update="alternate",
        sampling="batch",
        replaced="both",
        source_gradient=False,
        initializer_range=0.8 / 17**0.5,
        target=0.995,
        target_loss=None,
    )
    quick = Recipe.released(CASES["11"].training)
    assert (quick.learning_rate, quick.epochs, quick.clip_grad_norm) == (1e-2, 500, 1.0)
    assert quick.strict_weight == pytest.approx(0.16)
    arguments = TrainingArguments(use_single_loss=True, lr_scheduler="plateau", atol=0.1)
    other = Recipe.released(arguments)
    assert (other.update, other.schedule, other.atol) == ("sum", "plateau", 0.1)


def test_every_declared_task_has_been_released_by_some_recipe() -> None:
    for task in CASES.values():
        assert Recipe.released(task.training).strict_weight == task.training.strict_weight**2


def test_stages_that_silence_say_so_once() -> None:
    first = Recipe(epochs=5, note="More epochs.")
    second = then_silence(first, epochs=3)
    assert second.note == (
        "More epochs. Then a stage in which edges weigh more, to silence those outside."
    )
    third = then_silence(second, epochs=2, learning_rate=1e-3, edge_weight=30.0)
    fourth = then_silence(third, epochs=1)
    assert third.note == fourth.note == second.note.replace("a stage", "stages")
    assert [(stage.epochs, stage.edge_weight) for stage in fourth.stages] == [
        (5, first.edge_weight),
        (3, 10.0),
        (2, 30.0),
        (1, 10.0),
    ]


def test_a_record_is_read() -> None:
    before = Recipe(epochs=3, margin=None, betas=(0.5, 0.75), note="First.")
    recipe = dataclasses.replace(before, before=before, variable_odds=(1.0, 2.0), note="Then.")
    record = json.loads(json.dumps(dataclasses.asdict(recipe)))
    assert Recipe.from_record(record) == recipe
    plain = Recipe.from_record(record).without_notes
    assert plain.note == "" and plain.before is not None and plain.before.note == ""
    assert dataclasses.replace(plain, before=before, note="Then.") == recipe
    record["learning_rate"] = 1
    assert Recipe.from_record(record) == dataclasses.replace(recipe, learning_rate=1.0)
    record["learning_rate"] = recipe.learning_rate
    # A record from before a setting was there.
    del record["hides_tokens"], record["before"]["hides_tokens"]
    assert Recipe.from_record(record) == recipe


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"speed": 3, "epochs": 2}, "Expected the settings of a recipe, got speed too"),
        ({"epochs": 0}, "Expected epochs to be an int of at least 1, got 0"),
        ({"learning_rate": "fast"}, "Expected the settings of a recipe: "),
        ({"before": {"schedule": "cosine"}}, "schedule to be one of none, linear, plateau"),
        ({"before": 3}, "Expected before to hold the settings of a recipe, or null; got 3"),
        ({"before": []}, "Expected before to hold the settings of a recipe"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_record_that_is_refused(record: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.from_record(record)
