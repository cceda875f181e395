"""The sums of a sweep's tasks as Parquet files, and tables as bytes that only they decide."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from interpbench_jax.extras import needs_extra
from interpbench_jax.storage import (
    decode_parquet,
    encode_parquet,
    read_bytes,
    remove_leftovers,
    sync_folder,
    write_file,
)

if TYPE_CHECKING:
    import pyarrow

# One number per edit; tasks may differ in how many.
Sums = Float64[np.ndarray, "_"]

MAX_PARTS = 64
_MOST_BYTES = 2**32
_MOST_ROWS = 2**28
_PREFIX = "part-"


def check_pyarrow() -> None:
    """Fail before a sweep starts rather than when it first saves.

    Raises:
        ImportError: if pyarrow is not installed.
    """
    with needs_extra("bench", "Saving a sweep"):
        import pyarrow.parquet  # noqa: F401


def write_part(folder: Path, tasks: Iterable[tuple[int, Sums]]) -> None:
    """Add a part to a folder: all of it or, if anything fails, none of it."""
    paths = _part_paths(folder)
    number = _number(paths[-1]) + 1 if paths else 1
    write_file(folder / f"{_PREFIX}{number:06}.parquet", _encode_part(tasks))
    sync_folder(folder)


def read_parts(folder: Path, n_tasks: int) -> dict[int, Sums]:
    """The sums of every task in a folder, read-only.

    Raises:
        ValueError: if a part is corrupt, or a task has two results that differ by a bit; the
            message says what to delete.
    """
    return _read(_part_paths(folder), n_tasks)


def merge_parts(folder: Path, n_tasks: int) -> None:
    """Make one part of many where there are more than `MAX_PARTS`.

    A process killed on the way leaves tasks in two parts, with equal sums. Parts larger than all
    smaller ones together stay as they are, so that no sum is rewritten often.

    Raises:
        ValueError: as `read_parts`, of the parts that are merged; nothing is removed then.
    """
    paths = _part_paths(folder)
    if len(paths) <= MAX_PARTS:
        return
    sizes = {path: path.stat().st_size for path in paths}
    chosen = sorted(paths, key=sizes.__getitem__)
    while len(chosen) > 2 and sizes[chosen[-1]] > sum(sizes[path] for path in chosen[:-1]):
        chosen.pop()
    write_part(folder, sorted(_read(chosen, n_tasks).items()))
    for path in chosen:
        path.unlink()


def remove_parts(folder: Path) -> None:
    """Remove the parts, and the folder unless it holds what is not ours."""
    if not folder.is_dir():
        return
    remove_leftovers(folder, _PREFIX)
    for path in _part_paths(folder):
        path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def encode_table(table: "pyarrow.Table") -> bytes:
    """A table as a Parquet file: equal tables, equal bytes, under one release of pyarrow.

    How the table is held in memory and in which order its metadata came makes no difference, and
    what pandas adds to the metadata is left out.
    """
    metadata = sorted((table.schema.metadata or {}).items())
    ours = {key: value for key, value in metadata if key != b"pandas"}
    return encode_parquet(table.replace_schema_metadata(ours or None).combine_chunks())


def read_table(path: Path) -> "pyarrow.Table":
    """The table in a Parquet file of ours.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not one, was cut short, or does not match its checksums.
    """
    data = read_bytes(path, _MOST_BYTES)
    try:
        return decode_parquet(data, _MOST_ROWS)
    except ValueError as error:
        raise _corrupt(path, str(error)) from None


def _read(paths: Iterable[Path], n_tasks: int) -> dict[int, Sums]:
    found: dict[int, Sums] = {}
    for path in paths:
        for task, sums in _read_part(path, n_tasks):
            if task in found and found[task].tobytes() != sums.tobytes():
                raise ValueError(
                    f"Expected one result of task {task}, got two that differ, the second in "
                    f"{path}; two programs probably wrote here: delete {path.parent} and sweep "
                    "again."
                )
            found[task] = sums
    return found


def _read_part(path: Path, n_tasks: int) -> list[tuple[int, Sums]]:
    columns = read_table(path)
    names = ("task", "index", "sum")
    types = [str(column.type) for column in columns.itercolumns()]
    if tuple(columns.column_names) != names or types != ["int32", "int32", "double"]:
        raise _corrupt(path, f"it has other columns than {', '.join(names)}")
    task, index, sums = (columns[name].to_numpy() for name in names)
    starts = np.flatnonzero(index == 0)
    lengths = np.diff(starts, append=len(index))
    tasks = task[starts]
    whole = (
        starts.size > 0
        and np.array_equal(np.arange(len(index)) - np.repeat(starts, lengths), index)
        and np.array_equal(np.repeat(tasks, lengths), task)
        and tasks.min() >= 0
        and tasks.max() < n_tasks
    )
    if not whole:
        raise _corrupt(path, f"its rows are not the sums of tasks 0 to {n_tasks - 1}")
    sums.flags.writeable = False
    return list(zip(tasks.tolist(), np.split(sums, starts[1:]), strict=True))


def _encode_part(tasks: Iterable[tuple[int, Sums]]) -> bytes:
    """A row for each task and each of its sums, with the sum's index in the task."""
    import pyarrow as pa

    numbers, sums = zip(*tasks, strict=True)
    lengths = [len(each) for each in sums]
    columns = {
        "task": np.repeat(np.asarray(numbers, np.int32), lengths),
        "index": np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        "sum": np.concatenate(sums),
    }
    return encode_table(pa.table(columns))


def _part_paths(folder: Path) -> list[Path]:
    """The parts in a folder, in the order in which they were written."""
    paths = folder.glob(f"{_PREFIX}*.parquet")
    numbered = [path for path in paths if path.stem[len(_PREFIX) :].isdecimal()]
    return sorted(numbered, key=_number)


def _corrupt(path: Path, why: str) -> ValueError:
    return ValueError(
        f"Expected {path} as this sweep wrote it, got a file that is cut short or corrupt ({why}): "
        "delete it, and what it held is computed again."
    )


def _number(path: Path) -> int:
    return int(path.stem[len(_PREFIX) :])
