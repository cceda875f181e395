"""Paired rows: an input, a corrupted input to patch from, and the program's targets for both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from interpbench_jax.cases.sequences import SequenceSpace, Split
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, check_rows

if TYPE_CHECKING:
    from interpbench_jax.high_level import HighLevelModel
    from interpbench_jax.metrics import MetricName

Seed = int | np.integer | np.random.Generator

_CLOSE = 1e-4
# Rows that are evaluated at once.
_PIECE = 1024
_ARRAYS = ("input_ids", "corrupted_input_ids", "target", "corrupted_target", "is_scored")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TaskPairs(Pairs):
    """Pairs of a task's inputs, with the program's targets for both; one row per pair.

    Attributes:
        input_ids: int32 `[rows, pos]`; BOS first, PAD at the end of shorter inputs.
        corrupted_input_ids: int32 `[rows, pos]`; different inputs, of the same lengths unless the
            task's inputs vary in length.
        target: the correct output for `input_ids`: int32 class ids or float32 numbers, `[rows,
            pos]`. Entries at positions that are not scored do not count: they are 0, or in a
            language task the next token.
        corrupted_target: the same for `corrupted_input_ids`, valid where these have no PAD.
        is_scored: bool `[rows, pos]`: True where `input_ids` are neither BOS nor PAD, or in a
            language task at the last position. Losses and metrics use only these positions.
        distractor: the wrong class that a language task compares the answer with: int32 `[rows]`;
            None in other tasks.
        metric: the task's metric; None if it is the default.
        objective: the `Objective` of the runs, made of the metric, the targets and `is_scored`.
    """

    input_ids: np.ndarray
    corrupted_input_ids: np.ndarray  # pyright: ignore[reportGeneralTypeIssues]
    target: np.ndarray
    corrupted_target: np.ndarray
    is_scored: np.ndarray
    distractor: np.ndarray | None = None
    metric: "MetricName | None" = None
    objective: Objective = field(init=False)

    def __post_init__(self) -> None:
        made = Objective(self.metric, self.metric_targets, self.is_scored)
        object.__setattr__(self, "objective", made)

    def __getitem__(self, rows: slice) -> "TaskPairs":
        check_rows(rows)
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in _ARRAYS},
            distractor=None if self.distractor is None else self.distractor[rows],
        )

    @property
    def answer(self) -> np.ndarray | None:
        """The correct class at a language task's last position, int32 `[rows]`; None elsewhere."""
        return None if self.distractor is None else self.target[:, -1]

    @property
    def metric_targets(self) -> np.ndarray:
        """The targets of metrics: `target`, or `[rows, pos, 2]` with the distractor after it.

        At positions that are not scored they are -1, or NaN for numbers, which metrics leave out.
        """
        is_float = np.issubdtype(self.target.dtype, np.floating)
        nothing = np.asarray(np.nan if is_float else -1, self.target.dtype)
        targets = np.where(self.is_scored, self.target, nothing)
        if self.distractor is None:
            return targets
        distractor = np.where(self.is_scored, self.distractor[:, None], nothing)
        return np.stack([targets, distractor], axis=-1)


def join_pairs(parts: Sequence[TaskPairs]) -> TaskPairs:
    """Concatenate pairs of one task."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def join(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return replace(
        first,
        **{name: join(name) for name in _ARRAYS},
        distractor=None if first.distractor is None else join("distractor"),
    )


def sample_pairs(
    space: SequenceSpace,
    model: "HighLevelModel",
    numbers: np.ndarray | None,
    n: int,
    rng: np.random.Generator,
    *,
    split: Split | None,
    is_unique: bool,
    is_variable: bool,
    pairs_lengths: bool = True,
    metric: "MetricName | None" = None,
) -> TaskPairs:
    """Draw `n` pairs as `Task.sample` describes.

    Args:
        space: the space of the task's inputs.
        model: the task's high-level model.
        numbers: for a regression, the values that the output can take, ascending; else None.
        n: number of rows.
        rng: the generator, which advances.
        split: the split to draw from; None for all inputs.
        is_unique: whether all `input_ids` must differ.
        is_variable: whether lengths vary.
        pairs_lengths: whether the two inputs of a pair have the same length.
        metric: the task's metric; None if it is the default.

    Raises:
        ValueError: if there are not enough inputs.
    """
    draw = space.draw_unique if is_unique else space.draw
    inputs = draw(n, rng, split, is_variable=is_variable)
    if is_variable and not pairs_lengths:
        corrupted = space.draw_unlike(inputs, rng, split)
    else:
        corrupted = space.draw_others(inputs, rng, split)
    is_scored, is_other = ((ids != space.bos) & (ids != space.pad) for ids in (inputs, corrupted))
    return TaskPairs(
        input_ids=inputs,
        corrupted_input_ids=corrupted,
        target=find_targets(model, numbers, inputs, is_scored),
        corrupted_target=find_targets(model, numbers, corrupted, is_other),
        is_scored=is_scored,
        metric=metric,
    )


def find_targets(
    model: "HighLevelModel",
    numbers: np.ndarray | None,
    inputs: np.ndarray,
    is_scored: np.ndarray,
) -> np.ndarray:
    """The targets of inputs; 0 at positions that are not scored.

    A regression's numbers within 1e-4 of a value that the program can output are set to that
    value, so that they do not depend on the machine's rounding.
    """
    if not len(inputs):
        return np.zeros(inputs.shape, np.int32 if model.is_categorical else np.float32)
    found = in_pieces(lambda piece: np.asarray(model.targets(piece)), (inputs,))
    if numbers is not None:
        middles = (numbers[1:] + numbers[:-1]) / 2
        nearest = numbers[np.searchsorted(middles, found)].astype(np.float32)
        found = np.where(np.abs(nearest - found) < _CLOSE, nearest, found)
    return np.where(is_scored, found, np.zeros((), found.dtype))


def in_pieces(function: Callable[..., np.ndarray], arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """Apply a function of rows to pieces of one size, so that JAX compiles it for one shape.

    Args:
        function: a function from rows of the arrays to the same number of rows.
        arrays: arrays with the same number of rows, at least one. The last piece is filled up with
            copies of its first row.
    """
    found = []
    for start in range(0, len(arrays[0]), _PIECE):
        piece = [array[start : start + _PIECE] for array in arrays]
        n = len(piece[0])
        filled = [np.concatenate([rows, np.repeat(rows[:1], _PIECE - n, 0)]) for rows in piece]
        found.append(function(*filled)[:n])
    return np.concatenate(found)


def check_count(n: object) -> None:
    """Check that `n` is a number of rows.

    Raises:
        TypeError: if it is not an int.
        ValueError: if it is negative.
    """
    if type(n) is not int:
        raise TypeError(f"Expected the number of rows to be an int, got {n!r}.")
    if n < 0:
        raise ValueError(f"Expected the number of rows to be at least 0, got {n}.")


def check_counterfactual(counterfactual: str | None, known: tuple[str, ...]) -> None:
    """Check that a kind of corrupted input is known.

    Raises:
        ValueError: if it is neither None nor one of `known`.
    """
    if counterfactual is not None and counterfactual not in known:
        raise ValueError(
            f"Expected counterfactual to be one of {', '.join(known)}; got {counterfactual!r}."
        )


def make_generator(seed: object) -> np.random.Generator:
    """The random generator for a seed, or the seed itself if it is a generator.

    Raises:
        TypeError: if it is neither an int nor a NumPy `Generator`.
        ValueError: if it is negative.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(
            f"Expected the seed to be an int or a numpy.random.Generator, got {seed!r}; draws are "
            "never seeded by the clock, so pass for example seed=0."
        )
    if seed < 0:
        raise ValueError(f"Expected the seed to be at least 0, got {seed}.")
    return np.random.Generator(np.random.PCG64(int(seed)))
