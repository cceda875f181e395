"""The inputs of a sweep: arrays in memory, or a stream, of which only some rows are in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Int

from interpbench_jax.names import AblationName
from interpbench_jax.pairs import Pairs, PairStream

CONSTANTS: Final = "constants"
# Where replacements come from: an ablation, or constants that the caller gives.
ReplacementSource = AblationName | Literal["constants"]

Field = Literal["clean", "corrupted", "targets"]


class StreamedArray:
    """One of the arrays of a stream; taking its rows in order is fastest.

    Attributes:
        shape: the shape of the whole array.
        dtype: the type of its numbers.
        window: the rows of the stream that are in memory.
    """

    def __init__(self, window: "Window", field: Field, like: np.ndarray) -> None:
        """An array like that of the first block, with all rows."""
        self.window = window
        self._field: Field = field
        *before, _, n_pos = like.shape
        self.shape: tuple[int, ...] = (*before, window.n_rows, n_pos)
        self.dtype = like.dtype

    @property
    def ndim(self) -> int:
        """The number of axes; the last but one counts rows."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, index: np.ndarray, axis: int = -2) -> np.ndarray:
        """Some rows, as NumPy takes them.

        Raises:
            ValueError: if the stream gives fewer rows, or blocks that differ in kind.
        """
        assert axis == -2, "rows are the last axis but one"
        start = int(index.min())
        rows = self.window.rows(start, int(index.max()) + 1)
        return self._of(rows).take(index - start, axis=-2)

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows, block by block, in a separate pass."""
        return map(self._of, self.window.blocks())

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """All rows, in memory."""
        return np.concatenate(list(self.blocks()), axis=-2).astype(dtype or self.dtype)

    def _of(self, inputs: "SweepInputs") -> np.ndarray:
        return getattr(inputs, self._field)


@dataclass(frozen=True)
class SweepInputs:
    """The inputs of the runs, on the host.

    Attributes:
        clean: the clean inputs.
        corrupted: the inputs that replacements come from; for `"resample"` paired with `clean` by
            row.
        targets: the metric's targets; of pairs, the answers and then the distractors; None for the
            clean run's own answers.
        constants: the replacements of all outputs, if they are given or have been learned.
    """

    clean: Int[np.ndarray, "*models batch pos"] | StreamedArray
    corrupted: Int[np.ndarray, "*models other pos"] | StreamedArray
    targets: (
        Int[np.ndarray, "*models batch pos"]
        | Float[np.ndarray, "*models batch pos"]
        | Int[np.ndarray, "*models 2 batch pos"]
        | StreamedArray
        | None
    )
    constants: Float[np.ndarray, "*models 1 pos src d_model"] | None = None


HostArray = np.ndarray | StreamedArray


def input_blocks(inputs: SweepInputs) -> Iterator[SweepInputs]:
    """The inputs in blocks of rows, in one pass; inputs in memory are one block."""
    if isinstance(inputs.clean, StreamedArray):
        return inputs.clean.window.blocks()
    return iter((inputs,))


def stream_inputs(
    stream: PairStream, first: SweepInputs, read: Callable[[Pairs], SweepInputs]
) -> SweepInputs:
    """The inputs of a sweep over a stream.

    Args:
        stream: the pairs.
        first: the inputs of its first block.
        read: checks a block and returns its inputs.
    """
    window = Window(stream, read)

    def whole(field: Field) -> StreamedArray:
        return StreamedArray(window, field, getattr(first, field))

    targets = None if first.targets is None else whole("targets")
    return replace(first, clean=whole("clean"), corrupted=whole("corrupted"), targets=targets)


class Window:
    """The rows of a stream that were requested last; earlier rows need another pass."""

    def __init__(self, stream: PairStream, read: Callable[[Pairs], SweepInputs]) -> None:
        self.n_rows = stream.n
        self._stream = stream
        self._read = read
        self._restart()

    def blocks(self) -> Iterator[SweepInputs]:
        """Every block, checked.

        Raises:
            ValueError: if there are more or fewer rows than the stream says.
        """
        n_read = 0
        for block in self._stream:
            yield self._read(block)
            n_read += len(block)
        if n_read != self.n_rows:
            raise ValueError(
                f"Expected a stream of {self.n_rows:,} pairs, as it says, got {n_read:,}."
            )

    def rows(self, start: int, stop: int) -> SweepInputs:
        """The rows from `start` to before `stop`.

        Raises:
            ValueError: if there are not as many, or a block is unlike the first.
        """
        if start < self._start:
            self._restart()
        while self._start + self._held() < stop:
            block = next(self._blocks, None)
            if block is None:
                raise ValueError(
                    f"Expected a stream of {self.n_rows:,} pairs, as it says, got "
                    f"{self._start + self._held():,}."
                )
            if self._start + self._held() <= start:
                self._start += self._held()
                self._kept = block
            else:
                assert self._kept is not None
                self._kept = _join(_cut(self._kept, start - self._start), block)
                self._start = start
        assert self._kept is not None
        if stop == self.n_rows and next(self._blocks, None) is not None:
            raise ValueError(f"Expected a stream of {stop:,} pairs, as it says, got more.")
        return _cut(self._kept, start - self._start)

    def _held(self) -> int:
        return 0 if self._kept is None else len(self._kept.clean)

    def _restart(self) -> None:
        self._blocks = self.blocks()
        self._kept: SweepInputs | None = None
        self._start = 0


def _cut(inputs: SweepInputs, start: int) -> SweepInputs:
    """The rows from `start` on."""
    return _each(inputs, lambda field: getattr(inputs, field)[..., start:, :])


def _join(first: SweepInputs, second: SweepInputs) -> SweepInputs:
    arrays = (first, second)
    return _each(
        first,
        lambda field: np.concatenate([getattr(each, field) for each in arrays], axis=-2),
    )


def _each(inputs: SweepInputs, change: Callable[[Field], np.ndarray]) -> SweepInputs:
    targets = None if inputs.targets is None else change("targets")
    return replace(inputs, clean=change("clean"), corrupted=change("corrupted"), targets=targets)
