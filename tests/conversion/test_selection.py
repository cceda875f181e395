"""Parts of tensors are the same whether they are read at once or in blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_conversion.selection import TensorSelection

ROWS = np.arange(12.0).reshape(4, 3)


def test_rows_and_columns_by_hand() -> None:
    np.testing.assert_array_equal(
        TensorSelection((4, 3), 0, (3, 1)).take(ROWS), [[9, 10, 11], [3, 4, 5]]
    )
    columns = [[2, 0], [5, 3], [8, 6], [11, 9]]
    np.testing.assert_array_equal(TensorSelection((4, 3), 1, (2, 0)).take(ROWS), columns)


@given(st.data(), st.integers(0, 2), st.integers(1, 7))
def test_blocks_of_any_size_give_what_numpy_takes(
    data: st.DataObject, axis: int, size: int
) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=3, max_size=3)))
    array = np.arange(np.prod(shape)).reshape(shape)
    indices = tuple(data.draw(st.lists(st.integers(0, shape[axis] - 1), max_size=6)))
    selection = TensorSelection(shape, axis, indices)
    blocks = (array[start : start + size] for start in range(0, shape[0], size))
    gathered = selection.gather(blocks, array.dtype)
    np.testing.assert_array_equal(gathered, np.take(array, np.array(indices, int), axis))
    assert gathered.dtype == array.dtype and gathered.flags.owndata


def test_the_part_does_not_share_memory() -> None:
    array = ROWS.copy()
    kept = TensorSelection((4, 3), 0, (0, 1)).take(array)
    array[:] = -1
    np.testing.assert_array_equal(kept, ROWS[:2])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_not_kept_must_be_finite_too(number: float) -> None:
    array = ROWS.copy()
    array[3, 2] = number
    with pytest.raises(ValueError, match="infinity or NaN in rows 2 to 3"):
        TensorSelection((4, 3), 1, (0,)).gather([array[:2], array[2:]], array.dtype)


@pytest.mark.parametrize(("axis", "indices"), [(0, (0, 4)), (1, (-1,)), (2, (0,)), (-1, (0,))])
def test_indices_outside_are_refused(axis: int, indices: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"Expected indices along axis {axis} of .*\(4, 3\)"):
        TensorSelection((4, 3), axis, indices)
