"""The record on disk of a sweep that can be interrupted and resumed.

A folder has `sweep.json`, which describes the sweep; `parts/*.parquet`, the sums of finished
tasks, replaced by `effects.parquet` at the end; `constants.safetensors`, if constants were learned;
and `.lock`, an empty file that one process at a time locks. Every file is written under a temporary
name first, so that a process may be killed at any moment.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, save

from interpbench_jax.jsontext import check_format, parse_json_object
from interpbench_jax.storage import (
    LOCK_FILE,
    FileLock,
    lock_folder,
    read_bytes,
    read_text,
    remove_leftovers,
    sync_folder,
    write_file,
)
from interpbench_jax.storage.sums import (
    Sums,
    check_pyarrow,
    encode_table,
    merge_parts,
    read_parts,
    read_table,
    remove_parts,
    write_part,
)
from interpbench_jax.texts import cut_off, shown

if TYPE_CHECKING:
    import pyarrow

FLUSH_SECONDS = 1.0
_FORMAT = "interpbench-sweep"
_MAX_TASKS = 2**31 - 1
_RECORD, _RESULT = "sweep.json", "effects.parquet"
_CONSTANTS = "constants.safetensors"
_MOST_BYTES = 2**26
_MOST_SHOWN = 200


@final
class SweepStore:
    """What a sweep has finished, in a folder that is its own until closed; for any thread."""

    def __init__(self, folder: Path, n_tasks: int, flush_seconds: float, lock: FileLock) -> None:
        """Not for callers, who use `open`; the folder is locked and checked by now."""
        self._folder = folder
        self._parts = folder / "parts"
        self._result = folder / _RESULT
        self._n_tasks = n_tasks
        self._flush_seconds = flush_seconds
        self._lock: FileLock | None = lock
        self._mutex = threading.RLock()
        self._waiting: list[tuple[int, Sums]] = []
        self._seen: set[int] = set()
        self._written = time.monotonic()
        remove_leftovers(folder, _RECORD)
        remove_leftovers(folder, _RESULT)
        remove_leftovers(folder, _CONSTANTS)
        if self._result.exists():
            remove_parts(self._parts)
        else:
            self._parts.mkdir(exist_ok=True)
            remove_leftovers(self._parts, "part-")

    @classmethod
    def open(
        cls,
        folder: Path,
        description: Mapping[str, object],
        n_tasks: int,
        *,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> "SweepStore":
        """The record of a sweep, begun or as an earlier process left it.

        Args:
            folder: for this sweep alone; made, with its parents, where there is none.
            description: all that the sums depend on, as values that JSON can hold.
            n_tasks: how many tasks the sweep has.
            flush_seconds: how much work a kill may cost at most, beyond unfinished tasks.

        Raises:
            ImportError: if pyarrow is not installed.
            TypeError: if JSON cannot hold the description.
            ValueError: if the folder holds another sweep or other files, or is in use; if
                `n_tasks` is not positive.
        """
        check_pyarrow()
        if not 1 <= n_tasks <= _MAX_TASKS:
            raise ValueError(f"Expected from 1 to {_MAX_TASKS} tasks, got {n_tasks}.")
        record = _encode_record(description, n_tasks)
        check_folder(folder)
        lock = lock_folder(folder, "this sweep")
        try:
            path = folder / _RECORD
            if path.exists():
                _check_record(path, json.loads(record))
            else:
                write_file(path, record)
            return cls(folder, n_tasks, flush_seconds, lock)
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> "SweepStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def finished(self) -> dict[int, Sums]:
        """The sums of every task that is safely on disk; read-only, none once `finish` was called.

        Raises:
            ValueError: if a part is corrupt, or two disagree; the message says what to delete.
        """
        with self._mutex:
            found = read_parts(self._parts, self._n_tasks)
            self._seen.update(found)
            return found

    def add(self, task: int, sums: Sums) -> None:
        """Keep a task's sums, and write all that wait if the last write is `flush_seconds` ago.

        Raises:
            OSError: if the disk does not take them; they are kept for the next write.
            ValueError: if the task or its sums are not what a sweep gives, or the store is
                closed or finished.
        """
        if not 0 <= task < self._n_tasks:
            raise ValueError(f"Expected a task from 0 to {self._n_tasks - 1}, got {task}.")
        if sums.dtype != np.float64 or sums.ndim != 1 or not sums.size:
            raise ValueError(
                f"Expected the sums of task {task} as a non-empty float64 vector, got "
                f"{sums.dtype} of shape {sums.shape}."
            )
        with self._mutex:
            self._check_writable()
            self._waiting.append((task, sums.copy()))
            self._seen.add(task)
            if time.monotonic() - self._written >= self._flush_seconds:
                self.flush()

    def flush(self) -> None:
        """Write what waits; when this returns, it outlives the process and a loss of power.

        Raises:
            OSError: if the disk does not take it; it is kept for the next write.
            ValueError: if the store is closed or finished and something waits, or a part that is
                to be merged with others is corrupt.
        """
        with self._mutex:
            if not self._waiting:
                return
            self._check_writable()
            write_part(self._parts, self._waiting)
            self._waiting = []
            self._written = time.monotonic()
            merge_parts(self._parts, self._n_tasks)

    def finish(self, table: "pyarrow.Table") -> Path:
        """Write the sweep's result, `effects.parquet`, and remove the parts: the file's path.

        Equal tables with equal metadata give equal bytes under one release of pyarrow.

        Raises:
            OSError: if the disk does not take it; the parts are still there.
            ValueError: if a task was neither added nor read by `finished`, or the store is closed
                or finished.
        """
        with self._mutex:
            self._check_writable()
            missing = self._n_tasks - len(self._seen)
            if missing:
                raise ValueError(
                    f"Expected all {self._n_tasks} tasks before the result, {missing} are missing; "
                    "call finished() to learn which, and add them."
                )
            write_file(self._result, encode_table(table))
            sync_folder(self._folder)
            self._waiting = []
            remove_parts(self._parts)
            return self._result

    def result(self) -> "pyarrow.Table | None":
        """The table that `finish` was given, by this process or an earlier one; None before.

        Raises:
            ValueError: if the file is corrupt.
        """
        return read_table(self._result) if self._result.exists() else None

    def keep_constants(self, constants: Float[np.ndarray, "..."]) -> None:
        """Store constants that were learned for the sweep, so that they are not learned again.

        Raises:
            OSError: if the disk does not take them.
            ValueError: if the store is closed or finished.
        """
        with self._mutex:
            self._check_writable()
            array = np.ascontiguousarray(constants)
            write_file(self._folder / _CONSTANTS, save({"constants": array}))
            sync_folder(self._folder)

    def constants(self) -> Float[np.ndarray, "..."] | None:
        """The constants that were stored; None if there are none.

        Raises:
            ValueError: if their file is corrupt.
        """
        path = self._folder / _CONSTANTS
        if not path.exists():
            return None
        try:
            return load(read_bytes(path, _MOST_BYTES))["constants"]
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(
                f"Expected {path} as this sweep wrote it, got a file that is cut short or corrupt "
                f"({shown(error)}): delete it, and the constants are learned again."
            ) from None

    def close(self) -> None:
        """Write what waits and let others open the folder; closing again does nothing."""
        with self._mutex:
            if self._lock is None:
                return
            try:
                self.flush()
            finally:
                self._lock.release()
                self._lock = None

    def _check_writable(self) -> None:
        if self._lock is None or self._result.exists():
            state = "closed" if self._lock is None else "finished"
            raise ValueError(
                f"Expected the store of {self._folder} open for a running sweep, but it is {state}."
            )


def count_done(folder: Path) -> tuple[int, int] | None:
    """How many tasks of a sweep in a folder are done, and of how many; None where none is told.

    What is wrong with a folder is left to `SweepStore.open` to say.
    """
    try:
        record = parse_json_object(read_text(folder / _RECORD, _MOST_BYTES), "a sweep")
        total = record["n_tasks"]
        if type(total) is not int:
            return None
        if (folder / _RESULT).exists():
            return total, total
        done = len(read_parts(folder / "parts", total))
    except (OSError, ValueError, KeyError, ImportError):
        return None
    return (done, total) if done else None


def _encode_record(description: Mapping[str, object], n_tasks: int) -> str:
    record = {
        "format": _FORMAT,
        "version": 1,
        "n_tasks": n_tasks,
        "description": dict(description),
    }
    try:
        return json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Expected a description that JSON can hold, got another: {error}"
        ) from None


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but a sweep, before anything is written to it.

    Raises:
        ValueError: if it does.
    """
    if not folder.exists() or (folder / _RECORD).exists():
        return
    if not folder.is_dir():
        raise ValueError(f"Expected a folder for the sweep, got {folder}, a file; choose another.")
    # A process that was killed while it began leaves these.
    own = (LOCK_FILE, f".{_RECORD}.")
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith(own))
    if others:
        raise ValueError(
            f"Expected a new folder, an empty one or one with a {_RECORD}; {folder} holds "
            f"{', '.join(others[:3])}{', ...' if len(others) > 3 else ''}: choose another."
        )


def _check_record(path: Path, wanted: Mapping[str, object]) -> None:
    """Refuse a folder that holds another sweep."""
    try:
        found = parse_json_object(read_text(path, _MOST_BYTES), "the record of a sweep")
        check_format(found, _FORMAT)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    differences = list(_differences(wanted, found))
    if differences:
        raise ValueError(
            f"Expected {path.parent} to hold the sweep that was asked for, but it holds another. "
            f"{cut_off(differences, 12, '; ')}. Choose another folder, or delete this one."
        )


def _differences(
    wanted: Mapping[str, object], found: Mapping[str, object], prefix: str = ""
) -> Iterator[str]:
    """One text for each key, of inner objects too, whose values are not the same JSON."""
    for key in sorted({*wanted, *found}):
        mine, other = wanted.get(key), found.get(key)
        if isinstance(mine, dict) and isinstance(other, dict):
            yield from _differences(mine, other, f"{prefix}{key}.")
            continue
        texts = [
            json.dumps(record[key], sort_keys=True) if key in record else "nothing"
            for record in (wanted, found)
        ]
        if texts[0] != texts[1]:
            mine, other = map(_shorten, texts)
            yield f"{_shorten(prefix + key)}: expected {mine}, found {other}"


def _shorten(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."
