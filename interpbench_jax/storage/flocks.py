"""Locks of the operating system on open files; it releases them when their process ends."""

import errno
import os
from pathlib import Path

_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


def lock_handle(handle: int) -> bool:
    """Lock an open file until it is closed.

    Returns:
        Whether it is locked now; False where there are no such locks, so nobody is kept out.

    Raises:
        BlockingIOError: if the file is locked through another handle.
        OSError: if it cannot be locked for another reason.
    """
    try:
        import fcntl
    except ImportError:
        return False  # Windows has no such locks.
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def leads_to(path: Path, handle: int) -> bool:
    """Whether the path still leads to the file that was opened."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
