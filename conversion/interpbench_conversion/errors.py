"""The error for an unexpected upstream file, and functions that open such files safely."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path

from interpbench_jax.storage import open_regular


class UpstreamFormatError(ValueError):
    """An upstream file contains something that is not understood, so none of it is used."""


@contextmanager
def open_file(path: Path, *, max_bytes: int) -> Iterator[BufferedReader]:
    """Open an upstream file for reading.

    Raises:
        FileNotFoundError: if there is no such file.
        UpstreamFormatError: if it is not a regular file or has more than `max_bytes` bytes.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"Expected an upstream file at {path}, but nothing is there; check the case's folder "
            "and that the download finished."
        )
    with ExitStack() as opened:
        try:
            file = opened.enter_context(open_regular(path, max_bytes))
        except ValueError as error:
            raise UpstreamFormatError(str(error)) from None
        yield file


def read_bounded(path: Path, *, max_bytes: int) -> bytes:
    """Return the file's bytes, at most `max_bytes` of them.

    Raises:
        FileNotFoundError: if there is no such file.
        UpstreamFormatError: if it is not a regular file or has more than `max_bytes` bytes.
    """
    with open_file(path, max_bytes=max_bytes) as file:
        return file.read(max_bytes)
