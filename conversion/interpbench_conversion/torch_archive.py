"""Check the entries of a zip archive that `torch.save` wrote, and read them a block at a time.

Entries are read instead of mapped into memory. If a mapped file is truncated, the whole process
dies (SIGBUS), and checking checksums and finiteness visits every page anyway, so that the map would
be resident beside the arrays that are kept.
"""

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

ZIP_START = b"PK\x03\x04"
# Large enough for speed, and small compared with any model for which memory matters.
BLOCK_BYTES = 1 << 20

# The central directory of a model with thousands of tensors is far smaller than one such read.
_MAX_READ_BYTES = 4 << 20
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1
# No deflate stream expands more than this (zlib's own figure is 1032 to 1).
_LARGEST_EXPANSION = 1040


class _BoundedReader:
    """The part of a file's interface that zipfile needs, with a bounded number of bytes per read.

    A central directory that claims more is cut short, and zipfile then refuses it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(_MAX_READ_BYTES if size < 0 else min(size, _MAX_READ_BYTES))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


@contextmanager
def open_archive(file: BinaryIO, *, max_bytes: int) -> Iterator[zipfile.ZipFile]:
    """Open the archive in `file`, whose entries neither overlap nor expand beyond `max_bytes`.

    Raises:
        ValueError: if they do, or two have the same name.
        zipfile.BadZipFile: if it is not a zip archive.
    """
    with zipfile.ZipFile(_BoundedReader(file)) as archive:
        _check_entries(archive, file, max_bytes)
        yield archive


def _check_entries(archive: zipfile.ZipFile, file: BinaryIO, max_bytes: int) -> None:
    """Raise an error if entries share a name or bytes, or expand beyond `max_bytes`."""
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("two entries of one name")
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise ValueError(f"entries of {total} bytes; at most {max_bytes}")
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise ValueError(f"overlapping entries, at {entry.filename[:120]!r}")
        file.seek(entry.header_offset)
        header = file.read(_LOCAL_HEADER.size)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        if signature != ZIP_START:
            raise ValueError(f"no entry where {entry.filename[:120]!r} should start")
        end = entry.header_offset + len(header) + name_length + extra_length
        end += entry.compress_size
    if end > archive.start_dir:
        raise ValueError("an entry that runs into the central directory")


@contextmanager
def open_entry(
    archive: zipfile.ZipFile, name: str, *, sizes: range
) -> Iterator[zipfile.ZipExtFile]:
    """Open the stream of an entry of one of `sizes`, which its stored bytes can expand to.

    The `with` block must read all of it; its checksum is compared at the end.

    Raises:
        ValueError: if there is no such entry, or it has another size, is encrypted, or is
            compressed by another method than deflate.
        zipfile.BadZipFile: if its checksum is wrong.
    """
    entry = archive.NameToInfo.get(name)
    if entry is None:
        raise ValueError(f"no entry {name[:120]!r}")
    method = entry.compress_type
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & _ENCRYPTED:
        raise ValueError(f"entry {name[:120]!r} encrypted, or compressed by method {method}")
    if entry.file_size not in sizes:
        raise ValueError(
            f"entry {name[:120]!r} of {entry.file_size} bytes, not of {sizes[0]} to {sizes[-1]}"
        )
    expansion = 1 if method == zipfile.ZIP_STORED else _LARGEST_EXPANSION
    if entry.file_size > expansion * entry.compress_size:
        raise ValueError(
            f"entry {name[:120]!r} of {entry.file_size} bytes in {entry.compress_size}"
        )
    with archive.open(entry) as stream:
        assert isinstance(stream, zipfile.ZipExtFile)  # the type for an archive that is read
        yield stream
        # This last, empty read is what makes zipfile compare the checksum of an empty entry.
        rest = stream.read(1)
        assert not rest


def fill(stream: zipfile.ZipExtFile, array: np.ndarray) -> None:
    """Read the bytes of a contiguous array from a stream, a block at a time.

    Raises:
        ValueError: if the stream ends before the array is full.
    """
    raw, done = array.reshape(-1).view(np.uint8), 0
    while done < raw.size:
        content = stream.read(min(BLOCK_BYTES, raw.size - done))
        if not content:
            raise ValueError(f"entry {stream.name!r} cut off after {done} bytes")
        raw[done : done + len(content)] = np.frombuffer(content, np.uint8)
        done += len(content)


def read_entry(archive: zipfile.ZipFile, name: str, *, sizes: range) -> bytes:
    """Return the bytes of a small entry; see `open_entry` and `fill` for the errors."""
    with open_entry(archive, name, sizes=sizes) as stream:
        content = np.empty(archive.NameToInfo[name].file_size, np.uint8)
        fill(stream, content)
    return content.tobytes()
