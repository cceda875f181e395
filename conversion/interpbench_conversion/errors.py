"""What goes wrong when one of upstream's files is not what it should be."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path

from interpbench_jax.storage import open_regular


class UpstreamFormatError(ValueError):
    """A file of upstream's holds something that is not understood, so nothing of it is used."""


@contextmanager
def open_file(path: Path, *, max_bytes: int) -> Iterator[BufferedReader]:
    """A file of upstream's, open to read.

    Raises:
        FileNotFoundError: if nothing is there.
        UpstreamFormatError: if it is not a regular file or has more than `max_bytes` bytes.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"Expected a file of upstream's at {path}, but nothing is there; check the case's "
            "folder and that the download finished."
        )
    with ExitStack() as opened:
        try:
            file = opened.enter_context(open_regular(path, max_bytes))
        except ValueError as error:
            raise UpstreamFormatError(str(error)) from None
        yield file


def read_bounded(path: Path, *, max_bytes: int) -> bytes:
    """The file's bytes, at most `max_bytes` of them.

    Raises:
        FileNotFoundError: if nothing is there.
        UpstreamFormatError: if it is not a regular file or has more than `max_bytes` bytes.
    """
    with open_file(path, max_bytes=max_bytes) as file:
        return file.read(max_bytes)
