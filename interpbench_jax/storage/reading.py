"""Reading untrusted files: only regular ones, and of bounded size."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path


@contextmanager
def open_regular(path: Path, max_bytes: int | None = None) -> Iterator[BufferedReader]:
    """Open a regular file for reading; a pipe or a device is never waited for.

    Args:
        path: the file.
        max_bytes: the largest size allowed, in bytes; None for any size.

    Raises:
        FileNotFoundError: if the file does not exist.
        OSError: if it cannot be read.
        ValueError: if it is not a regular file, or is larger; the message names it.
    """
    # Opening a pipe that nobody writes to would block forever.
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
    """Read all bytes of a regular file.

    Reading stops one byte past the limit, even if the file grows meanwhile.

    Args:
        path: the file.
        max_bytes: the largest size allowed, in bytes.

    Raises:
        FileNotFoundError: if the file does not exist.
        OSError: if it cannot be read.
        ValueError: if it is not a regular file, or is larger; the message names it.
    """
    with open_regular(path, max_bytes) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(_too_large(path, max_bytes, "more"))
    return data


def read_text(path: Path, max_bytes: int) -> str:
    """Read a regular file as UTF-8 text. See `read_bytes` for the arguments and other errors.

    Raises:
        ValueError: as in `read_bytes`, or if the file is not UTF-8.
    """
    try:
        return read_bytes(path, max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected UTF-8 text at {path}, got other bytes: {error}.") from None


def digest_file(path: Path) -> str:
    """The SHA-256 digest of a regular file of any size, in hexadecimal.

    Raises:
        FileNotFoundError: if the file does not exist.
        OSError: if it cannot be read.
        ValueError: if it is not a regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _too_large(path: Path, max_bytes: int, size: str) -> str:
    return (
        f"Expected at most {max_bytes:,} bytes at {path}, got {size}; it is probably not the file "
        "that its name suggests."
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
