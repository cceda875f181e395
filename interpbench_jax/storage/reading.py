"""Reading what somebody else may have put there: regular files of a bounded size."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path


@contextmanager
def open_regular(path: Path, max_bytes: int | None = None) -> Iterator[BufferedReader]:
    """A regular file, open to read; a pipe or a device is never waited for.

    Args:
        path: the file.
        max_bytes: the most that it may have; None for any number.

    Raises:
        FileNotFoundError: if nothing is there.
        OSError: if it cannot be read.
        ValueError: if it is no regular file, or is larger; the message names it.
    """
    # Opening a pipe that nobody writes to would wait for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"Expected a regular file at {path}, got {_kind(status.st_mode)}.")
        if max_bytes is not None and status.st_size > max_bytes:
            raise ValueError(_too_large(path, max_bytes, f"{status.st_size:,}"))
        with os.fdopen(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """All bytes of a regular file.

    No more than the limit is read, whatever the file turns into meanwhile.

    Args:
        path: the file.
        max_bytes: the most that it may have.

    Raises:
        FileNotFoundError: if nothing is there.
        OSError: if it cannot be read.
        ValueError: if it is no regular file, or is larger; the message names it.
    """
    with open_regular(path, max_bytes) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(_too_large(path, max_bytes, "more"))
    return data


def read_text(path: Path, max_bytes: int) -> str:
    """The text of a regular file in UTF-8; the rest is as for `read_bytes`.

    Raises:
        ValueError: as `read_bytes`, or if it is not UTF-8.
    """
    try:
        return read_bytes(path, max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected text in UTF-8 at {path}, got other bytes: {error}.") from None


def digest_file(path: Path) -> str:
    """The SHA-256 of a regular file, of any size.

    Raises:
        FileNotFoundError: if nothing is there.
        OSError: if it cannot be read.
        ValueError: if it is no regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _too_large(path: Path, max_bytes: int, size: str) -> str:
    return (
        f"Expected at most {max_bytes:,} bytes at {path}, got {size}; it is probably not the file "
        "that its name says."
    )


def _kind(mode: int) -> str:
    for is_kind, name in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if is_kind(mode):
            return name
    return "something else"
