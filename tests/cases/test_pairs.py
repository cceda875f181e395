"""Pairs of clean and corrupted inputs."""

import dataclasses

import numpy as np
import pytest

from interpbench_jax.cases import CASES, RASP_CASES, RELEASES, SPLITS, Split, TaskPairs
from interpbench_jax.cases.pairs import check_count, make_generator
from interpbench_jax.rasp import Value
from interpbench_jax.rasp.plain import read

FIELDS = [field.name for field in dataclasses.fields(TaskPairs) if field.init]


def as_lists(pairs: TaskPairs) -> list[list[object]]:
    return [np.asarray(getattr(pairs, name)).tolist() for name in FIELDS]


@pytest.mark.slow
@pytest.mark.parametrize("variable_length", [False, True])
@pytest.mark.parametrize("case_id", RASP_CASES)
def test_targets_are_what_the_program_says(case_id: str, variable_length: bool) -> None:
    task = RASP_CASES[case_id]
    pairs = task.sample(12, seed=5, variable_length=variable_length)
    values: dict[object, Value] = {task.token_ids[str(token)]: token for token in task.vocab}
    for inputs, targets in (
        (pairs.input_ids, pairs.target),
        (pairs.corrupted_input_ids, pairs.corrupted_target),
    ):
        assert inputs.dtype == np.int32
        assert targets.dtype == (np.int32 if task.is_categorical else np.float32)
        if inputs is pairs.input_ids:
            assert pairs.is_scored.tolist() == [
                [i in values for i in row] for row in inputs.tolist()
            ]
        for row, target in zip(inputs, targets, strict=True):
            sequence = [values[i] for i in row.tolist() if i in values]
            is_scored = np.asarray([i in values for i in row.tolist()])
            assert (target[~is_scored] == 0).all()
            expected = read(task.program, sequence, is_causal=task.is_causal)
            for found, value in zip(target[is_scored].tolist(), expected, strict=True):
                if task.classes is None:
                    assert isinstance(value, (int, float))
                    assert found == np.float32(value)
                else:
                    # A missing value counts as class 0.
                    assert found == (0 if value is None else task.classes.index(value))


def test_pairs_are_frozen_and_have_a_length() -> None:
    pairs = CASES["3"].sample(7, seed=0)
    assert len(pairs) == 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        pairs.target = pairs.target  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("case_id", ["11", "ioi", "ioi_next_token"])
def test_seeds_decide_everything(case_id: str) -> None:
    task = CASES[case_id]
    first = as_lists(task.sample(50, seed=0))
    assert first == as_lists(task.sample(50, seed=0))
    assert first == as_lists(task.sample(50, seed=np.int64(0)))
    assert first != as_lists(task.sample(50, seed=1))
    rng = np.random.Generator(np.random.PCG64(0))
    assert first == as_lists(task.sample(50, seed=rng))
    assert first != as_lists(task.sample(50, seed=rng))


@pytest.mark.parametrize("case_id", ["3", "ioi"])
def test_no_global_state(case_id: str) -> None:
    before = str(np.random.get_state())
    CASES[case_id].sample(5, seed=0)
    assert str(np.random.get_state()) == before


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("case_id", ["3", "13", "20", "ioi"])
def test_both_inputs_of_a_pair_are_of_the_split_and_differ(case_id: str, split: Split) -> None:
    task = CASES[case_id]
    pairs = task.sample(300, seed=0, split=split, counterfactual="random")
    assert (pairs.input_ids != pairs.corrupted_input_ids).any(axis=1).all()
    both = {tuple(row) for row in np.concatenate([pairs.input_ids, pairs.corrupted_input_ids])}
    for other in SPLITS:
        if other == split:
            continue
        elsewhere = task.sample(300, seed=1, split=other, counterfactual="random")
        rows = np.concatenate([elsewhere.input_ids, elsewhere.corrupted_input_ids])
        assert both.isdisjoint(map(tuple, rows))


def test_only_language_tasks_have_distractors() -> None:
    assert {task.counterfactuals for task in RASP_CASES.values()} == {("random",)}
    for case_id in ("3", "11"):
        pairs = CASES[case_id].sample(2, seed=0)
        assert pairs.distractor is None and pairs.answer is None
        # BOS is not scored.
        np.testing.assert_array_equal(pairs.metric_targets[:, 1:], pairs.target[:, 1:])
        unscored = -1 if CASES[case_id].is_categorical else np.nan
        np.testing.assert_array_equal(pairs.metric_targets[:, 0], unscored)


@pytest.mark.parametrize("case_id", RELEASES["1.0.0"])
def test_scored_positions_are_the_first_one_and_all_later(case_id: str) -> None:
    task = CASES[case_id]
    pairs = task.sample(30, seed=0)
    expected = np.broadcast_to(
        np.arange(task.max_seq_len) >= task.first_scored, (30, task.max_seq_len)
    )
    if task.has_padding:
        is_padding = pairs.input_ids == task.pad_id
        assert is_padding.any() and not is_padding.all(axis=1).any()
        # The two inputs of a pair may have different lengths.
        lengths = [
            (ids != task.pad_id).sum(axis=1) for ids in (pairs.input_ids, pairs.corrupted_input_ids)
        ]
        assert set(lengths[0]) == set(range(task.min_seq_len, task.max_seq_len + 1))
        assert (lengths[0] != lengths[1]).any()
        expected = expected & ~is_padding
    np.testing.assert_array_equal(pairs.is_scored, expected)
    np.testing.assert_array_equal(task.scored_positions(pairs.input_ids), expected)


def test_unique_removes_duplicates() -> None:
    task = CASES["3"]
    n_distinct = len(np.unique(task.sample(200, seed=0).input_ids, axis=0))
    assert n_distinct < 200
    pairs = task.sample(200, seed=0, unique=True)
    assert len(np.unique(pairs.input_ids, axis=0)) == 200
    with pytest.raises(ValueError, match="Expected a request for at most 256 different inputs"):
        task.sample(257, seed=0, unique=True)


def test_no_rows() -> None:
    for case_id in ("3", "11", "ioi"):
        task = CASES[case_id]
        pairs = task.sample(0, seed=0)
        assert len(pairs) == 0
        assert pairs.target.shape == pairs.is_scored.shape == (0, task.max_seq_len)
        assert pairs.target.dtype == (np.float32 if case_id == "3" else np.int32)


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (None, r"Expected the seed to be an int or a numpy.*, got None; .*seed=0"),
        (True, "got True"),
        (0.5, "got 0.5"),
        ("0", "got '0'"),
        (np.random.RandomState(0), "got RandomState"),
    ],
)
def test_what_is_not_a_seed(seed: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make_generator(seed)


def test_what_is_not_a_number_of_rows() -> None:
    for n in (1.5, None, True, "1"):
        with pytest.raises(TypeError, match="Expected the number of rows to be an int, got"):
            check_count(n)


@pytest.mark.parametrize("case_id", ["3", "ioi"])
def test_what_cannot_be_sampled(case_id: str) -> None:
    task = CASES[case_id]
    with pytest.raises(ValueError, match="Expected the number of rows to be at least 0, got -1"):
        task.sample(-1, seed=0)
    with pytest.raises(ValueError, match="Expected the seed to be at least 0, got -1"):
        task.sample(1, seed=-1)
    known = ", ".join(task.counterfactuals)
    with pytest.raises(ValueError, match=f"counterfactual to be one of {known}; got 'mean'"):
        task.sample(1, seed=0, counterfactual="mean")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case_id", ["3", "ioi"])
def test_what_a_user_sees(case_id: str) -> None:
    task = CASES[case_id]
    with pytest.raises(TypeError, match="Expected the seed to be an int"):
        task.sample(1, seed=None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"Expected the number of rows to be an int, got 1\.5"):
        task.sample(1.5, seed=0)  # pyright: ignore[reportArgumentType]
    for split_of in (lambda split: task.sample(1, seed=0, split=split), task.all_inputs):
        with pytest.raises(ValueError, match="to be one of train, validation, test; got 'dev'"):
            split_of("dev")  # pyright: ignore[reportArgumentType]
