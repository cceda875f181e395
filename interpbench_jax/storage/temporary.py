"""Files that are written under a temporary name, and then take the place of another."""

import errno
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import final

from interpbench_jax.storage.flocks import leads_to, lock_handle

_SUFFIX = ".tmp"


@final
class TemporaryFile:
    """A file beside its target, to be moved there or discarded.

    Its process keeps it locked as long as it exists, so others know that it is not abandoned.
    """

    def __init__(self, target: Path, data: bytes) -> None:
        """Write the content to a new file in the target's folder, and flush it to disk.

        Raises:
            OSError: if the target is a folder, or the file cannot be written; none is left then.
        """
        if target.is_dir():
            raise IsADirectoryError(
                errno.EISDIR, f"Expected a file to write at {target}, got a folder; choose another"
            )
        try:
            handle, self._path = _create(target)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from None
        self._target = target
        self._handle: int | None = handle
        try:
            with open(handle, "wb", closefd=False) as file:
                file.write(data)
                file.flush()
                os.fsync(handle)
            os.chmod(self._path, _mode_for(target))
        except BaseException:
            self.discard()
            raise

    def replace(self) -> None:
        """Move the file to its target's place.

        Raises:
            OSError: if that fails; the file can still be discarded.
        """
        if os.name == "nt":
            self._close()  # Windows cannot move open files.
        os.replace(self._path, self._target)
        self._close()

    def discard(self) -> None:
        """Remove the file."""
        self._close()  # Windows cannot remove open files.
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def remove_abandoned(target: Path) -> None:
    """Remove the temporary files that killed processes left of a target.

    Nothing is removed where locks cannot tell whose process still runs.
    """
    name = re.compile(rf"\.{re.escape(target.name)}\.\w{{8}}{re.escape(_SUFFIX)}")
    try:
        with os.scandir(target.parent) as entries:
            found = [Path(entry) for entry in entries if name.fullmatch(entry.name)]
    except OSError:
        return  # Whoever writes there gets the error.
    for path in found:
        _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return  # It is gone by now, or belongs to somebody else.
    try:
        if lock_handle(handle) and leads_to(path, handle):
            path.unlink(missing_ok=True)
    except OSError:
        pass  # Its process still runs, or the folder is read-only.
    finally:
        os.close(handle)


def _create(target: Path) -> tuple[int, Path]:
    """Create a file with a new name, and lock it."""
    while True:
        handle, name = tempfile.mkstemp(_SUFFIX, f".{target.name}.", target.parent)
        path = Path(name)
        try:
            lock_handle(handle)
            if leads_to(path, handle):
                return handle, path
        except BlockingIOError:
            pass
        except BaseException:
            os.close(handle)
            path.unlink(missing_ok=True)
            raise
        os.close(handle)  # Another process removes it, because it was not locked at first.


def _mode_for(target: Path) -> int:
    """The permissions of the file to replace, or the default ones for a new file."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask  # mkstemp makes private files
