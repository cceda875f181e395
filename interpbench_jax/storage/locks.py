"""A file, or a folder, for one process at a time."""

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import final

from interpbench_jax.storage.writing import make_folder

LOCK_FILE = ".lock"
_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class InUse(ValueError):
    """Another process, or another user of this one, is at work there."""


@final
class FileLock:
    """A lock that one process holds until it releases it or ends, however it ends.

    The file only stands for what is locked. Where the file system knows no locks, nobody is kept
    out.
    """

    def __init__(self, path: Path, what: str, *, removes: bool = False) -> None:
        """Take the lock, making the file and its folder where there are none.

        Args:
            path: the file that stands for what is locked.
            what: what is locked and for whom, as in "the folder x for this sweep", for the
                message.
            removes: whether the file is removed in the end.

        Raises:
            InUse: if somebody else holds it.
            OSError: if the file cannot be made.
        """
        self._path = path
        self._removes = removes
        make_folder(path.parent)
        self._handle: int | None = _acquire(path, what)

    def release(self) -> None:
        """Let others in; again does nothing."""
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
    """A folder for one purpose alone, such as "this sweep"; made where there is none.

    Raises:
        InUse: if somebody else holds it.
        OSError: if the folder cannot be made or written.
    """
    return FileLock(folder / LOCK_FILE, f"{folder} for {purpose}", removes=removes)


def _acquire(path: Path, what: str) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
            if _is_there(path, handle):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise InUse(
                f"Expected {what} alone, but it is in use, by another process or one that has "
                "not closed it; wait until that ends, or choose another folder."
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # Somebody removed the file just now; that lock would keep nobody out.


def _lock(handle: int) -> None:
    try:
        import fcntl
    except ImportError:
        return  # No such locks on Windows.
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def _is_there(path: Path, handle: int) -> bool:
    """Whether the path still leads to the file that was opened."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
