"""Locks on files and folders, each held by one process at a time."""

import os
from pathlib import Path
from types import TracebackType
from typing import final

from interpbench_jax.storage.flocks import leads_to, lock_handle
from interpbench_jax.storage.writing import make_folder

LOCK_FILE = ".lock"


class InUse(ValueError):
    """Another process, or another part of this one, is using the file or folder."""


@final
class FileLock:
    """A lock that one process holds until it releases it or ends, in whatever way it ends.

    The file only represents what is locked. If the file system does not support locks, nobody is
    kept out.
    """

    def __init__(self, path: Path, what: str, *, removes: bool = False) -> None:
        """Acquire the lock, creating the file and its folder if they do not exist.

        Args:
            path: the file that represents what is locked.
            what: a description of what is locked and for whom, such as "the folder x for this
                sweep", for the error message.
            removes: whether the file is removed when the lock is released.

        Raises:
            InUse: if the lock is already held.
            OSError: if the file cannot be created.
        """
        self._path = path
        self._removes = removes
        make_folder(path.parent)
        self._handle: int | None = _acquire(path, what)

    def release(self) -> None:
        """Release the lock; releasing it again does nothing."""
        if self._handle is not None:
            if self._removes:
                self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def lock_folder(folder: Path, purpose: str, *, removes: bool = False) -> FileLock:
    """Lock a folder for one purpose, such as "this sweep", creating it if it does not exist.

    Raises:
        InUse: if the lock is already held.
        OSError: if the folder cannot be created or written.
    """
    return FileLock(folder / LOCK_FILE, f"{folder} for {purpose}", removes=removes)


def _acquire(path: Path, what: str) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock_handle(handle)
            if leads_to(path, handle):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise InUse(
                f"Expected exclusive use of {what}, but it is in use by another process, or was "
                "not closed by this one; wait until it is released, or choose another folder."
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # The file was removed just now, so a lock on it keeps nobody out.
