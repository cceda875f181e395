"""What goes wrong when one of upstream's files is not what it should be."""

from pathlib import Path


class UpstreamFormatError(ValueError):
    """A file of upstream's holds something that is not understood, so nothing of it is used."""


def require_file(path: Path, *, max_bytes: int) -> None:
    """Check that `path` is a file which may be read, before any of it is read.

    Raises:
        FileNotFoundError: if nothing is there.
        UpstreamFormatError: if it is not a regular file or has more than `max_bytes` bytes.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"Expected a file of upstream's at {path}, but nothing is there; check the case's "
            "folder and that the download finished."
        )
    if not path.is_file():
        raise UpstreamFormatError(f"{path}: expected a regular file; give the file's own path.")
    size = path.stat().st_size
    if size > max_bytes:
        raise UpstreamFormatError(
            f"{path}: expected at most {max_bytes} bytes but it has {size}; it is probably not "
            "the file that its name says."
        )


def read_bounded(path: Path, *, max_bytes: int) -> bytes:
    """Return the file's bytes, at most `max_bytes` of them.

    Raises:
        FileNotFoundError: if nothing is there.
        UpstreamFormatError: if it is not a regular file or has more than `max_bytes` bytes.
    """
    require_file(path, max_bytes=max_bytes)
    with path.open("rb") as file:
        return file.read(max_bytes)
