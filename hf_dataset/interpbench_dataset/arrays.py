"""Rows of a `datasets.Dataset` as JAX arrays, read by column and never by row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from interpbench_dataset.loading import import_datasets

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset
    from jax.sharding import Sharding
    from jaxlib._jax import Device


def to_jax(
    dataset: "Dataset",
    columns: Sequence[str] | None = None,
    *,
    device: "Device | Sharding | None" = None,
) -> dict[str, jax.Array]:
    """Return the columns of a dataset as arrays on the device, in the order of its rows.

    Shuffled, filtered and selected rows are as the dataset has them, so rows stay paired. Arrow's
    buffers are read in place; a copy is made if a column is in several chunks or rows were
    reordered, and by the transfer. On a CPU an array may be a view of the dataset's memory.

    Args:
        dataset: one split; a streaming dataset has no columns to read.
        columns: the columns to read; the default is those of the dataset's format, or else all.
        device: the device or sharding for the arrays; the default is JAX's.

    Returns:
        One array `[row, ...]` per column: numbers and booleans are `[row]`, lists `[row, item]`,
        and lists of lists have one more axis. Unless JAX's x64 mode is on, 64-bit columns become
        32-bit.

    Raises:
        TypeError: if the dataset is not a `datasets.Dataset`, or a column holds anything but
            numbers, booleans or lists of these, such as strings.
        ValueError: if there is no such column, a value is missing, a column's lists differ in
            length, or an integer does not fit into 32 bits while x64 mode is off.
    """
    _check_dataset(dataset)
    if isinstance(columns, str):
        raise TypeError(
            f"Expected columns to be a list of names, got {columns!r}; pass [{columns!r}]."
        )
    names = dataset.format["columns"] if columns is None else columns
    for name in names:
        if name not in dataset.column_names:
            there = ", ".join(dataset.column_names)
            raise ValueError(f"Expected a column of the dataset, got {name!r}; it has {there}.")
    order = _order(dataset)
    return {name: jax.device_put(_column(dataset, name, order), device) for name in names}


def _check_dataset(dataset: object) -> None:
    datasets = import_datasets()
    if isinstance(dataset, datasets.Dataset):
        return
    kind = type(dataset).__name__
    if isinstance(dataset, datasets.IterableDataset):
        hint = "load it without streaming=True, or stack the batches of its iter(batch_size=...)"
    elif isinstance(dataset, dict):
        hint = f"take one of its splits, such as dataset[{next(iter(dataset), 'test')!r}]"
    else:
        hint = "load one with interpbench_jax.load_dataset"
    raise TypeError(f"Expected a datasets.Dataset, got {kind}; {hint}.")


def _order(dataset: "Dataset") -> np.ndarray | None:
    """The table's row for each row of the dataset; None if the two orders are the same."""
    # `datasets` has no public name for it, and its own functions read through it row by row.
    indices = dataset._indices
    if indices is None:
        return None
    return _join(indices.column(0), "the order of rows").astype(np.intp)


def _column(dataset: "Dataset", name: str, order: np.ndarray | None) -> np.ndarray:
    column, what = dataset.data.column(name), f"column {name!r}"
    if order is None:
        values = _join(column, what)
    else:
        try:
            values = _join(column, what).take(order, axis=0)
        except ValueError:
            # Rows that the dataset leaves out may be the cause; gathering with Arrow is slower.
            values = _join(column.take(order), what)
    if values.dtype in (np.int64, np.uint64) and not jax.config.jax_enable_x64 and values.size:  # pyright: ignore[reportAttributeAccessIssue]
        narrow = np.iinfo(np.int32 if values.dtype == np.int64 else np.uint32)
        low, high = values.min(), values.max()
        if low < narrow.min or high > narrow.max:
            raise ValueError(
                f"Expected column {name!r} to fit into 32 bits, got values from {low} to {high}; "
                "turn on jax_enable_x64, or leave the column out with `columns`."
            )
    return values


def _join(column: "pa.ChunkedArray", what: str) -> np.ndarray:
    import pyarrow as pa

    parts = [_values(chunk, what) for chunk in column.chunks if len(chunk)]
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise ValueError(_ragged(what, {shape[0] for shape in shapes}))
    if not parts:
        return _values(pa.nulls(0, column.type), what)
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _values(array: "pa.Array", what: str) -> np.ndarray:
    """One chunk `[row, ...]`, without a copy where Arrow's layout allows it."""
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        return _values(array.storage, what)
    if array.null_count:
        raise ValueError(
            f"Expected {what} to have every value, but {array.null_count} are missing (null); "
            "drop these rows with dataset.filter, or leave the column out with `columns`."
        )
    kind = array.type
    if isinstance(array, pa.FixedSizeListArray):
        inner = _values(array.flatten(), what)
        return inner.reshape(len(array), kind.list_size, *inner.shape[1:])
    if isinstance(array, pa.ListArray | pa.LargeListArray):
        lengths = np.diff(array.offsets.to_numpy())
        if len(lengths) and (lengths != lengths[0]).any():
            raise ValueError(_ragged(what, set(np.unique(lengths).tolist())))
        inner = _values(array.flatten(), what)
        return inner.reshape(len(array), int(lengths[0]) if len(lengths) else 0, *inner.shape[1:])
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return array.to_numpy(zero_copy_only=False)
    raise TypeError(
        f"Expected {what} to be numbers, booleans or lists of these, got {kind}; name the columns "
        "to read with `columns`."
    )


def _ragged(what: str, lengths: set[int]) -> str:
    lengths_there = ", ".join(map(str, sorted(lengths)[:5])) + (", ..." if len(lengths) > 5 else "")
    return (
        f"Expected the lists in {what} to be equally long, got lengths {lengths_there}; pad them "
        "with dataset.map, or leave the column out with `columns`."
    )
