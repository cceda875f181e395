"""What is patched from: how each counterfactual differs from its prompt."""

import warnings

import numpy as np
import pytest

from interpbench_jax.cases import CASES, SPLITS, IoiTask, Split, TaskPairs
from interpbench_jax.cases.case_ioi import TASK
from interpbench_jax.cases.ioi.counterfactuals import COUNTERFACTUALS, Counterfactual

FULL = TASK.in_full_vocabulary()
VOCABULARIES = pytest.mark.parametrize("task", [TASK, FULL], ids=["prompts' tokens", "GPT-2"])
OF_NAMES = [3, 5, 11]
REAL: tuple[Counterfactual, ...] = ("abc", "swapped", "random")


def differences(prompts: np.ndarray, corrupted: np.ndarray) -> set[int]:
    """The positions at which any row differs."""
    return set(np.flatnonzero((prompts != corrupted).any(axis=0)).tolist())


def is_of_three(task: IoiTask, corrupted: np.ndarray) -> np.ndarray:
    """Per row, whether nobody is named twice."""
    names = np.sort(corrupted[:, OF_NAMES], axis=1)
    assert np.isin(names, task.vocabulary.names).all()
    return (names[:, 1:] != names[:, :-1]).all(axis=1)


def test_what_there_is() -> None:
    assert TASK.counterfactuals == COUNTERFACTUALS == ("abc", "swapped", "random", "upstream")


@VOCABULARIES
def test_abc_names_three_others(task: IoiTask) -> None:
    prompts = task.draw(2_000, np.random.default_rng(0))
    corrupted = task.corrupt(prompts, 1, "abc")
    assert (corrupted.shape, corrupted.dtype) == (prompts.shape, np.int32)
    assert differences(prompts, corrupted) == set(OF_NAMES)
    assert is_of_three(task, corrupted).all()
    shared = corrupted[:, OF_NAMES][:, :, None] == prompts[:, OF_NAMES][:, None, :]
    assert not shared.any()
    assert task.space.is_prompt(corrupted).all()
    values = task.high_level.values(corrupted)
    assert (np.asarray(values.duplicate)[:, 11] == -1).all()
    assert (np.asarray(values.s_inhibition)[:, 11] == -1).all()
    of_prompts = np.asarray(task.high_level.values(prompts).duplicate)[:, 11]
    assert set(of_prompts.tolist()) == {3, 5}


def test_abc_draws_every_other_name_alike() -> None:
    prompt = np.tile(TASK.draw(1, np.random.default_rng(0)), (9_700, 1))
    corrupted = TASK.corrupt(prompt, 0, "abc")
    others = np.setdiff1d(TASK.vocabulary.names, prompt[0])
    assert len(others) == 97
    for position in OF_NAMES:
        ids, counts = np.unique(corrupted[:, position], return_counts=True)
        assert ids.tolist() == sorted(others.tolist())
        # 100 of each, to six standard deviations.
        assert abs(counts - 100).max() < 60


@VOCABULARIES
def test_swapped_flips_the_answer(task: IoiTask) -> None:
    prompts = task.draw(2_000, np.random.default_rng(0))
    corrupted = task.corrupt(prompts, 0, "swapped")
    assert ((prompts != corrupted).sum(axis=1) == 1).all()
    assert differences(prompts, corrupted) == {11}
    answer, giver = task.space.answers(prompts)
    new_answer, new_giver = task.space.answers(corrupted)
    np.testing.assert_array_equal(new_answer, giver)
    np.testing.assert_array_equal(new_giver, answer)
    for rows, right in ((prompts, answer), (corrupted, giver)):
        np.testing.assert_array_equal(task.high_level.targets(rows)[:, -1], right)
    np.testing.assert_array_equal(task.corrupt(corrupted, 0, "swapped"), prompts)


@pytest.mark.parametrize("split", SPLITS)
def test_random_is_another_prompt_of_the_split(split: Split) -> None:
    prompts = TASK.draw(500, np.random.default_rng(0), split)
    # The same generator would draw the same prompts, so that all have to be drawn again.
    corrupted = TASK.corrupt(prompts, np.random.default_rng(0), "random", split=split)
    assert (prompts != corrupted).any(axis=1).all()
    pool = {row.tobytes() for row in TASK.all_inputs(split)}
    assert {row.tobytes() for row in corrupted} <= pool
    assert differences(prompts, corrupted) == {*OF_NAMES, 9, 14}


def test_upstream_is_the_prompt_itself_and_warns() -> None:
    prompts = TASK.draw(20, np.random.default_rng(0))
    with pytest.warns(UserWarning, match=r"the prompt itself, .* choose 'abc', 'swapped' or"):
        corrupted = TASK.corrupt(prompts, 0, "upstream")
    np.testing.assert_array_equal(corrupted, prompts)
    assert not np.shares_memory(corrupted, prompts)
    with pytest.warns(UserWarning, match="patching from it changes nothing"):
        pairs = TASK.sample(20, 0, counterfactual="upstream")
    np.testing.assert_array_equal(pairs.corrupted_input_ids, pairs.input_ids)
    np.testing.assert_array_equal(pairs.corrupted_target, pairs.target)


@pytest.mark.parametrize("kind", REAL)
def test_nothing_else_warns_or_changes_its_prompts(kind: Counterfactual) -> None:
    prompts = TASK.draw(20, np.random.default_rng(0))
    before = prompts.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corrupted = TASK.corrupt(prompts, 0, kind)
    np.testing.assert_array_equal(prompts, before)
    assert (corrupted != prompts).any(axis=1).all()


def test_unknown_ones_are_refused() -> None:
    prompts = TASK.draw(2, np.random.default_rng(0))
    message = "Expected counterfactual to be one of abc, swapped, random, upstream; got 'ABC'"
    with pytest.raises(ValueError, match=message):
        TASK.corrupt(prompts, 0, "ABC")
    with pytest.raises(ValueError, match=message):
        TASK.sample(2, 0, counterfactual="ABC")
    with pytest.raises(ValueError, match="Expected the seed to be at least 0, got -1"):
        TASK.corrupt(prompts, -1, "abc")


@pytest.mark.parametrize("kind", ["abc", "random"])
def test_the_seed_decides(kind: Counterfactual) -> None:
    prompts = TASK.draw(20, np.random.default_rng(0))
    first = TASK.corrupt(prompts, 1, kind)
    np.testing.assert_array_equal(TASK.corrupt(prompts, 1, kind), first)
    rng = np.random.Generator(np.random.PCG64(1))
    np.testing.assert_array_equal(TASK.corrupt(prompts, rng, kind), first)
    for other in (2, rng):
        assert not np.array_equal(TASK.corrupt(prompts, other, kind), first)


# TaskPairs


@pytest.mark.parametrize("kind", [None, *REAL])
@VOCABULARIES
def test_pairs(task: IoiTask, kind: Counterfactual | None) -> None:
    pairs = task.sample(30, 5, split="validation", counterfactual=kind)
    prompts = pairs.input_ids
    pool = {row.tobytes() for row in task.all_inputs("validation")}
    assert {row.tobytes() for row in prompts} <= pool
    for name in ("input_ids", "corrupted_input_ids", "target", "corrupted_target"):
        array = getattr(pairs, name)
        assert (array.shape, array.dtype) == ((30, 16), np.int32), name
    answer, giver = task.space.answers(prompts)
    assert pairs.answer is not None and pairs.distractor is not None
    assert pairs.answer.dtype == pairs.distractor.dtype == np.int32
    np.testing.assert_array_equal(pairs.answer, answer)
    np.testing.assert_array_equal(pairs.distractor, giver)
    assert (answer != giver).all()
    # The prompt from its first token on, and then the answer.
    for rows, target in (
        (prompts, pairs.target),
        (pairs.corrupted_input_ids, pairs.corrupted_target),
    ):
        np.testing.assert_array_equal(target[:, :-1], rows[:, 1:])
        np.testing.assert_array_equal(target[:, -1], task.high_level.targets(rows)[:, -1])
    if kind in (None, "abc"):
        assert is_of_three(task, pairs.corrupted_input_ids).all()
    elif kind == "swapped":
        assert differences(prompts, pairs.corrupted_input_ids) == {11}
        np.testing.assert_array_equal(pairs.corrupted_target[:, -1], giver)
    else:
        assert {row.tobytes() for row in pairs.corrupted_input_ids} <= pool
    assert pairs.is_scored.dtype == bool
    assert pairs.is_scored.tolist() == [[False] * 15 + [True]] * 30


def test_what_metrics_compare_with() -> None:
    pairs = TASK.sample(7, 0)
    targets = pairs.metric_targets
    assert (targets.shape, targets.dtype) == ((7, 16, 2), np.int32)
    assert pairs.distractor is not None
    np.testing.assert_array_equal(targets[:, -1, 0], pairs.target[:, -1])
    np.testing.assert_array_equal(targets[:, -1, 1], pairs.distractor)
    # Nothing else is scored.
    assert (targets[:, :-1] == -1).all()


def test_by_hand() -> None:
    """The first sentence's names, the giver, and what is right, as text."""
    pairs = TASK.sample(15, 0)
    for row, target, wrong in zip(*_columns(pairs), strict=True):
        words = TASK.text(row).replace(",", "").replace(".", "").split(" ")
        first, second, giver = words[1], words[3], words[8]
        assert words[2] == "and" and words[9] == "gave"
        assert TASK.tokens[wrong] == f" {giver}"
        assert TASK.tokens[target[-1]] == f" {second if giver == first else first}"


def _columns(pairs: TaskPairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    assert pairs.distractor is not None
    return pairs.input_ids, pairs.target, pairs.distractor


@pytest.mark.parametrize("case_id", ["ioi", "ioi_next_token"])
def test_lengths_do_not_vary(case_id: str) -> None:
    message = rf"Case '{case_id}': expected variable_length=False, .* has 16 positions"
    with pytest.raises(ValueError, match=message):
        CASES[case_id].sample(2, 0, variable_length=True)


def test_both_cases_draw_the_same_rows() -> None:
    one, other = (CASES[case_id].sample(9, 1) for case_id in ("ioi", "ioi_next_token"))
    for name in ("input_ids", "corrupted_input_ids", "target", "distractor", "is_scored"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
