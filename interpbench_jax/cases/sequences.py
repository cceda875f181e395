"""Sequences of token ids: listing, drawing, splitting. NumPy only, no state."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Split = Literal["train", "validation", "test"]
Oversampled = Literal["ascending", "equal"]

SPLITS: tuple[Split, ...] = get_args(Split)
LISTABLE = 1_000_000
_MOST_REDRAWS = 1_000

# Shares of the sequences: 80 % train, then 10 % validation and 10 % test.
_UPPER_ENDS: Mapping[Split, float] = {"train": 0.8, "validation": 0.9, "test": 1.0}
_LOWER_ENDS: Mapping[Split, float] = {"train": 0.0, "validation": 0.8, "test": 0.9}


@dataclass(frozen=True)
class SequenceSpace:
    """The space of a task's inputs: int32 rows of `max_seq_len` ids, which are BOS, tokens, PAD.

    Attributes:
        token_ids: ids of the tokens that can follow BOS, ascending.
        bos: id of BOS.
        pad: id of PAD.
        min_seq_len: positions of the shortest input, BOS counted.
        max_seq_len: positions of the longest input, BOS counted.
        oversampled: inputs that every other draw is one of, because hardly any uniform draw is:
            `"ascending"`: the ids of the tokens do not fall from one position to the next;
            `"equal"`: all tokens are the same, or, for half of them, all but one. None for uniform
            draws.
        prefix: the ids that may stand at the first positions after BOS, one tuple for each;
            any token may stand at the others.
    """

    token_ids: tuple[int, ...]
    bos: int
    pad: int
    min_seq_len: int
    max_seq_len: int
    oversampled: Oversampled | None = None
    prefix: tuple[tuple[int, ...], ...] = ()

    def lengths(self, *, is_variable: bool) -> tuple[int, ...]:
        """The lengths that inputs can have, BOS counted; only the full one unless they vary."""
        first = self.min_seq_len if is_variable else self.max_seq_len
        return tuple(range(first, self.max_seq_len + 1))

    def size(self, length: int) -> int:
        """The number of inputs of this length."""
        return math.prod(map(len, self._alphabets(length)))

    def _alphabets(self, length: int) -> list[tuple[int, ...]]:
        """The ids that may stand at each position after BOS."""
        own = self.prefix[: length - 1]
        return [*own, *[self.token_ids] * (length - 1 - len(own))]

    def list_all(self, split: Split | None = None, length: int | None = None) -> np.ndarray:
        """Every input of one length (the full one by default), ordered by its ids.

        Returns:
            int32 of shape `[inputs, max_seq_len]`.

        Raises:
            ValueError: if there are more than `LISTABLE`, or there is no such split.
        """
        length = self.max_seq_len if length is None else length
        size = self.size(length)
        if size > LISTABLE:
            raise ValueError(
                f"Expected at most {LISTABLE:,} inputs to list, but there are {size:,} "
                f"({len(self.token_ids)} tokens at {length - 1} positions); draw some with "
                "`sample` instead."
            )
        alphabets = self._alphabets(length)
        digits = np.unravel_index(np.arange(size), [len(ids) for ids in alphabets])
        columns = [np.asarray(ids)[each] for ids, each in zip(alphabets, digits, strict=True)]
        return _keep(self._with_tokens(np.stack(columns, axis=1)), self.pad, split)

    def draw(
        self, n: int, rng: np.random.Generator, split: Split | None, *, is_variable: bool
    ) -> np.ndarray:
        """Independent draws, uniform over inputs of the full length.

        With `is_variable` the length is drawn first, uniformly. Every other draw, on average, is
        of the inputs that are `oversampled`, if any are.

        Returns:
            int32 of shape `[n, max_seq_len]`.

        Raises:
            ValueError: if the split has no inputs.
        """
        pools = self._pools(split, self.lengths(is_variable=is_variable))
        lengths = [length for length, pool in pools.items() if pool is None or len(pool)]
        if n and not lengths:
            raise ValueError(
                f"Expected inputs in split {split!r}, but there are none; choose another split."
            )
        drawn = np.asarray(lengths)[rng.integers(0, len(lengths), n)] if n else np.empty(0, int)
        rows = np.empty((n, self.max_seq_len), np.int32)
        for length in lengths:
            here = np.flatnonzero(drawn == length)
            pool = pools[length]
            if pool is None:
                rows[here] = self._reject(np.full(len(here), length), rng, split, avoid=None)
            else:
                rows[here] = pool[rng.integers(0, len(pool), len(here))]
        return rows

    def draw_unique(
        self, n: int, rng: np.random.Generator, split: Split | None, *, is_variable: bool
    ) -> np.ndarray:
        """Draws without replacement.

        Returns:
            int32 of shape `[n, max_seq_len]`.

        Raises:
            ValueError: if fewer than `n` inputs exist, or might exist where there are too many
                to list.
        """
        pools = self._pools(split, self.lengths(is_variable=is_variable))
        listed = [pool for pool in pools.values() if pool is not None]
        n_listed = sum(map(len, listed))
        n_others = sum(self.size(length) for length, pool in pools.items() if pool is None)
        share = 1.0 if split is None else 0.9 * (_UPPER_ENDS[split] - _LOWER_ENDS[split])
        at_most = n_listed + int(share * n_others)
        if n > at_most:
            where = "" if split is None else f" in split {split!r}"
            raise ValueError(
                f"Expected a request for at most {at_most:,} different inputs{where}, got {n:,}; "
                "request fewer, or allow repetitions."
            )
        if not n_others:
            # The n earliest exponential clocks are a weighted draw without replacement.
            every = np.concatenate(listed)
            clocks = rng.exponential(
                np.repeat([len(pool) for pool in listed], list(map(len, listed)))
            )
            return every[np.argsort(clocks, kind="stable")[:n]]
        found = np.empty((0, self.max_seq_len), np.int32)
        while len(found) < n:
            more = self.draw(n - len(found) + 64, rng, split, is_variable=is_variable)
            joined = np.concatenate([found, more])
            _, first = np.unique(joined, axis=0, return_index=True)
            found = joined[np.sort(first)]
        return found[:n]

    def draw_others(
        self, inputs: np.ndarray, rng: np.random.Generator, split: Split | None
    ) -> np.ndarray:
        """For each input, another one of its length and split; itself only if there is no other.

        Returns:
            int32 of the inputs' shape.
        """
        lengths = (inputs != self.pad).sum(axis=1)
        rows = np.empty_like(inputs)
        for length, pool in self._pools(split, tuple(np.unique(lengths).tolist())).items():
            here = np.flatnonzero(lengths == length)
            if pool is None:
                rows[here] = self._reject(lengths[here], rng, split, avoid=inputs[here])
            else:
                own = np.searchsorted(self._numbers(pool), self._numbers(inputs[here]))
                steps = 1 + rng.integers(0, max(1, len(pool) - 1), len(here))
                rows[here] = pool[(own + steps) % len(pool)]
        return rows

    def draw_unlike(
        self, inputs: np.ndarray, rng: np.random.Generator, split: Split | None
    ) -> np.ndarray:
        """For each input, another one of any length.

        Returns:
            int32 of shape `[inputs, max_seq_len]`.

        Raises:
            ValueError: if the split has fewer than two inputs.
        """
        others = self.draw(len(inputs), rng, split, is_variable=True)
        for _ in range(_MOST_REDRAWS):
            same = np.flatnonzero((others == inputs).all(axis=1))
            if not len(same):
                return others
            others[same] = self.draw(len(same), rng, split, is_variable=True)
        raise ValueError(
            f"Expected at least two inputs in split {split!r}, so that the inputs of a pair can "
            "differ, but there seems to be only one. Draw from another split, or give the task "
            "more tokens."
        )

    def _pools(self, split: Split | None, lengths: tuple[int, ...]) -> dict[int, np.ndarray | None]:
        """Every input of each length; None where there are too many, or not all are as likely."""
        return {
            length: self.list_all(split, length)
            if self.oversampled is None and self.size(length) <= LISTABLE
            else None
            for length in lengths
        }

    def _reject(
        self,
        lengths: np.ndarray,
        rng: np.random.Generator,
        split: Split | None,
        avoid: np.ndarray | None,
    ) -> np.ndarray:
        """Inputs of these lengths, redrawn until they are in the split and differ from `avoid`.

        Raises:
            ValueError: if there seem to be none.
        """
        rows = np.empty((len(lengths), self.max_seq_len), np.int32)
        open_rows = np.arange(len(lengths))
        for _ in range(_MOST_REDRAWS):
            if not len(open_rows):
                return rows
            shape = (len(open_rows), self.max_seq_len - 1)
            tokens = np.asarray(self.token_ids)[rng.integers(0, len(self.token_ids), shape)]
            is_token = np.arange(1, self.max_seq_len)[None] < lengths[open_rows, None]
            if self.oversampled is not None:
                some = rng.random(len(tokens)) < 0.5
                tokens[some] = self._arrange(tokens[some], is_token[some], rng)
            for column, ids in enumerate(self.prefix):
                tokens[:, column] = rng.choice(ids, len(tokens))
            drawn = self._with_tokens(np.where(is_token, tokens, self.pad))
            rows[open_rows] = drawn
            is_done = is_in_split(drawn, self.pad, split)
            if avoid is not None:
                is_done &= (drawn != avoid[open_rows]).any(axis=1)
            open_rows = open_rows[~is_done]
        raise ValueError(
            f"Expected inputs of length {lengths[open_rows[0]]} in split {split!r}, found too few "
            f"in {_MOST_REDRAWS:,} draws; choose another split or longer inputs."
        )

    def _arrange(
        self, tokens: np.ndarray, is_token: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Turn draws into some of the inputs that are oversampled."""
        if self.oversampled == "equal":
            exception = rng.integers(0, 2 * tokens.shape[1], len(tokens))
            is_exception = np.arange(tokens.shape[1]) == exception[:, None]
            return np.where(is_exception, tokens, tokens[:, :1])
        # What comes after the tokens stays there.
        return np.sort(np.where(is_token, tokens, 1 + max(self.token_ids)), axis=1)

    def _with_tokens(self, tokens: np.ndarray) -> np.ndarray:
        """Rows of BOS, the given ids, and PAD up to the full length."""
        rows = np.full((len(tokens), self.max_seq_len), self.pad, np.int32)
        rows[:, 0] = self.bos
        rows[:, 1 : 1 + tokens.shape[1]] = tokens
        return rows

    def _numbers(self, inputs: np.ndarray) -> np.ndarray:
        """The inputs' places in lexicographic order, among inputs of one length."""
        digits = np.searchsorted(np.asarray(self.token_ids), inputs[:, 1:])
        is_token = inputs[:, 1:] != self.pad
        numbers = np.zeros(len(inputs), np.int64)
        for column, present in zip(digits.T, is_token.T, strict=True):
            numbers = np.where(present, numbers * len(self.token_ids) + column, numbers)
        return numbers


def is_in_split(inputs: np.ndarray, pad: int, split: Split | None) -> np.ndarray:
    """Whether each input belongs to a split, decided by a hash of its ids without PAD.

    A sequence is in the same split however it was drawn and however much it is padded.

    Returns:
        bool of shape `[inputs]`; all True where `split` is None.

    Raises:
        ValueError: if there is no such split.
    """
    if split is None:
        return np.ones(len(inputs), bool)
    if split not in SPLITS:
        raise ValueError(f"Expected split to be one of {', '.join(SPLITS)}; got {split!r}.")
    shares = _hash(inputs, pad) / 2.0**64
    return (_LOWER_ENDS[split] <= shares) & (shares < _UPPER_ENDS[split])


def _keep(inputs: np.ndarray, pad: int, split: Split | None) -> np.ndarray:
    return inputs[is_in_split(inputs, pad, split)]


def _hash(inputs: np.ndarray, pad: int) -> np.ndarray:
    """A 64-bit hash of each input. Source: Steele et al. 2014, the finalizer of splitmix64."""
    state = np.full(len(inputs), 0x9E3779B97F4A7C15, np.uint64)
    for column in inputs.T:
        mixed = state ^ (column.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        state = np.where(column == pad, state, mixed)
    return state
