"""Listing, drawing and splitting sequences."""

from dataclasses import replace

import numpy as np
import pytest

from interpbench_jax.cases import SPLITS, Split
from interpbench_jax.cases.sequences import SequenceSpace, is_in_split

BOS, PAD = 0, 3
SMALL = SequenceSpace(token_ids=(1, 2, 4), bos=BOS, pad=PAD, min_seq_len=3, max_seq_len=6)
LARGE = SequenceSpace(token_ids=(1, 2, 4, 5), bos=BOS, pad=PAD, min_seq_len=8, max_seq_len=13)
SPACES = pytest.mark.parametrize("space", [SMALL, LARGE], ids=["listed", "too many to list"])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def n_distinct(rows: np.ndarray) -> int:
    return len(np.unique(rows, axis=0))


def test_list_all() -> None:
    rows = SMALL.list_all()
    assert (rows.shape, rows.dtype) == ((3**5, 6), np.int32)
    assert n_distinct(rows) == 3**5
    assert rows[0].tolist() == [0, 1, 1, 1, 1, 1]
    assert rows[1].tolist() == [0, 1, 1, 1, 1, 2]
    assert SMALL.list_all(length=3)[-1].tolist() == [0, 4, 4, PAD, PAD, PAD]
    with pytest.raises(ValueError, match=r"1,000,000 inputs to list, but there are 16,777,216"):
        LARGE.list_all()


def test_splits_share_no_sequence_and_leave_none_out() -> None:
    parts = [SMALL.list_all(split) for split in SPLITS]
    assert sum(map(len, parts)) == 3**5 == n_distinct(np.concatenate(parts))
    many = LARGE.draw(20_000, generator(), None, is_variable=False)
    shares = [is_in_split(many, PAD, split).mean() for split in SPLITS]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.01)


def test_padding_does_not_change_the_split() -> None:
    rows = SMALL.list_all(length=4)
    shorter = SequenceSpace((1, 2, 4), BOS, PAD, 3, 4).list_all()
    for split in SPLITS:
        np.testing.assert_array_equal(
            is_in_split(rows, PAD, split), is_in_split(shorter, PAD, split)
        )


@pytest.mark.parametrize("split", [None, *SPLITS])
@pytest.mark.parametrize("is_variable", [False, True])
def test_every_other_draw_ascends(split: Split | None, is_variable: bool) -> None:
    space = replace(LARGE, oversampled="ascending")
    rows = space.draw(600, generator(), split, is_variable=is_variable)
    assert is_in_split(rows, PAD, split).all()
    lengths = (rows != PAD).sum(axis=1)
    assert set(lengths.tolist()) == set(space.lengths(is_variable=is_variable))
    tokens = np.where(rows[:, 1:] == PAD, 9, rows[:, 1:])
    assert set(np.unique(tokens)) <= {1, 2, 4, 5, 9}
    # Of the few short ones that ascend, a split has more or fewer than its share.
    assert 0.3 < (np.diff(tokens, axis=1) >= 0).all(axis=1).mean() < 0.6
    assert n_distinct(space.draw_unique(200, generator(), split, is_variable=is_variable)) == 200


def test_every_other_draw_has_equal_tokens_or_one_exception() -> None:
    space = replace(LARGE, oversampled="equal")
    rows = space.draw(2_000, generator(), None, is_variable=False)[:, 1:]
    differing = len(rows[0]) - np.asarray([np.bincount(row).max() for row in rows])
    assert 0.25 < (differing == 0).mean() < 0.35
    assert 0.45 < (differing <= 1).mean() < 0.55


def test_a_split_without_inputs_of_a_length_is_an_error() -> None:
    lonely = SequenceSpace((1,), BOS, PAD, 3, 3, oversampled="equal")
    empty: list[Split] = [split for split in SPLITS if not len(lonely.list_all(split))]
    with pytest.raises(ValueError, match=f"Expected inputs of length 3 in split '{empty[0]}'"):
        lonely.draw(2, generator(), empty[0], is_variable=False)


@SPACES
@pytest.mark.parametrize("split", [None, *SPLITS])
@pytest.mark.parametrize("is_variable", [False, True])
def test_draws(space: SequenceSpace, split: Split | None, is_variable: bool) -> None:
    rows = space.draw(600, generator(), split, is_variable=is_variable)
    assert (rows.shape, rows.dtype) == ((600, space.max_seq_len), np.int32)
    assert is_in_split(rows, PAD, split).all()
    lengths = (rows != PAD).sum(axis=1)
    expected = space.lengths(is_variable=is_variable)
    assert set(lengths.tolist()) <= set(expected)
    assert len(set(lengths.tolist())) > len(expected) // 2
    assert (rows[:, 0] == BOS).all()
    positions = np.arange(space.max_seq_len)[None]
    assert ((rows == PAD) == (positions >= lengths[:, None])).all()
    tokens = rows[(positions > 0) & (positions < lengths[:, None])]
    assert set(tokens.tolist()) == set(space.token_ids)
    others = space.draw_others(rows, generator(1), split)
    assert is_in_split(others, PAD, split).all()
    np.testing.assert_array_equal((others != PAD).sum(axis=1), lengths)
    same = (others == rows).all(axis=1)
    if not is_variable:
        assert not same.any()
    for row in rows[same]:
        # It is the only input of its length in its split.
        assert len(space.list_all(split, int((row != PAD).sum()))) == 1


def test_draws_are_uniform() -> None:
    rows = SMALL.draw(30_000, generator(), None, is_variable=False)
    counts = np.asarray([(rows[:, 1:] == token).mean(axis=0) for token in SMALL.token_ids])
    np.testing.assert_allclose(counts, 1 / 3, atol=0.015)
    others = SMALL.draw_others(np.repeat(SMALL.list_all()[:1], 30_000, axis=0), generator(), None)
    _, times = np.unique(others, axis=0, return_counts=True)
    assert len(times) == 3**5 - 1
    assert times.min() > 60 and times.max() < 200


@SPACES
@pytest.mark.parametrize("is_variable", [False, True])
def test_unique_draws(space: SequenceSpace, is_variable: bool) -> None:
    rows = space.draw_unique(200, generator(), None, is_variable=is_variable)
    assert len(rows) == n_distinct(rows) == 200


def test_unique_draws_up_to_the_last_one() -> None:
    n_test = len(SMALL.list_all("test"))
    rows = SMALL.draw_unique(n_test, generator(), "test", is_variable=False)
    assert n_distinct(rows) == n_test
    n_all = sum(3 ** (length - 1) for length in range(3, 7))
    assert n_distinct(SMALL.draw_unique(n_all, generator(), None, is_variable=True)) == n_all
    message = f"at most {n_test} different inputs in split 'test', got {n_test + 1}"
    with pytest.raises(ValueError, match=message):
        SMALL.draw_unique(n_test + 1, generator(), "test", is_variable=False)
    with pytest.raises(ValueError, match=r"at most 16,777,216 different inputs"):
        LARGE.draw_unique(4**12 + 1, generator(), None, is_variable=False)


def test_a_split_that_holds_nothing() -> None:
    tiny = SequenceSpace(token_ids=(1,), bos=BOS, pad=PAD, min_seq_len=2, max_seq_len=2)
    empty: list[Split] = [split for split in SPLITS if not len(tiny.list_all(split))]
    assert len(empty) == 2
    with pytest.raises(ValueError, match=f"in split '{empty[0]}', but there are none"):
        tiny.draw(1, generator(), empty[0], is_variable=False)
    assert tiny.draw(0, generator(), empty[0], is_variable=False).shape == (0, 2)


def test_splits_stay_where_they_are() -> None:
    """Published data depend on the hash, so these counts may only change in a new version."""
    assert [len(SMALL.list_all(split)) for split in SPLITS] == [198, 23, 22]
