"""A part of a large tensor: some indices along one axis."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from interpbench_jax.weights import is_finite


@dataclass(frozen=True)
class TensorSelection:
    """The part of a tensor that is kept, in the order of `indices`.

    Attributes:
        shape: shape of the whole tensor.
        axis: the axis that is cut.
        indices: the indices to keep along that axis, from 0.

    Raises:
        ValueError: if the shape has no such axis, or an index is outside it.
    """

    shape: tuple[int, ...]
    axis: int
    indices: tuple[int, ...]

    def __post_init__(self) -> None:
        extent = self.shape[self.axis] if 0 <= self.axis < len(self.shape) else 0
        if not all(0 <= index < extent for index in self.indices):
            raise ValueError(
                f"Expected indices along axis {self.axis} of a tensor of shape {self.shape}, got "
                f"{min(self.indices)} to {max(self.indices)}."
            )

    def take(self, array: np.ndarray) -> np.ndarray:
        """Return the kept part of a whole tensor, as a new array."""
        return self.gather([array], array.dtype)

    def gather(self, blocks: Iterable[np.ndarray], dtype: np.dtype) -> np.ndarray:
        """Return the kept part of a tensor that comes in blocks of rows (first axis), in order.

        What is not kept is checked too: a file that is damaged there cannot be trusted elsewhere.

        Raises:
            ValueError: if any number of the tensor is not finite.
        """
        indices = np.array(self.indices, np.intp)
        shape = list(self.shape)
        shape[self.axis] = len(indices)
        kept, start = np.empty(shape, dtype), 0
        for block in blocks:
            stop = start + len(block)
            if not is_finite(block):
                raise ValueError(f"infinity or NaN in rows {start} to {stop - 1}")
            if self.axis == 0:
                (inside,) = np.nonzero((start <= indices) & (indices < stop))
                kept[inside] = block[indices[inside] - start]
            else:
                kept[start:stop] = np.take(block, indices, self.axis)
            start = stop
        assert start == self.shape[0]
        return kept
