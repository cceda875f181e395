"""Weights out of a file that `torch.save` wrote, without torch.

The file is a zip archive: `<name>/data.pkl` pickles a dictionary of tensors, each a view
(offset, size and stride) of a storage whose bytes are the entry `<name>/data/<key>`. The pickle
is read into plain records first; all of them are checked before any storage is read.
"""

import math
import re
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from conversion.errors import UpstreamFormatError, require_file
from conversion.pickles import MAX_PICKLE_BYTES, load_restricted

_ZIP_START = b"PK\x03\x04"
# The central directory of a model with thousands of tensors is far smaller than one such read.
_MAX_READ_BYTES = 4 << 20
_MAX_AXES = 32
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1


class _StorageType(NamedTuple):
    """Stands in for a class such as `torch.FloatStorage`."""

    dtype: np.dtype


class _Storage(NamedTuple):
    """A reference to the entry `data/<key>`, which holds `length` elements."""

    dtype: np.dtype
    key: str
    length: int


class _Tensor(NamedTuple):
    """A view that lies within its storage; offset and stride count elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _StateDict(dict[str, object]):
    """Stands in for `collections.OrderedDict`; torch hangs `_metadata` on it, which we ignore."""

    def __setstate__(self, state: object) -> None:
        if type(state) is not dict:
            raise ValueError("a state of an OrderedDict that is not a dict")


# A function and not the class itself: dict's own constructor would hash what the file passes.
def _empty_state_dict() -> _StateDict:
    return _StateDict()


def _naturals(value: object) -> tuple[int, ...]:
    if type(value) is tuple and len(value) <= _MAX_AXES:
        if all(type(item) is int and item >= 0 for item in value):
            return value
    raise ValueError(f"a size or stride that is not a tuple of at most {_MAX_AXES} naturals")


def _rebuild_tensor(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object,
    backward_hooks: object,
    metadata: object = None,
) -> _Tensor:
    if metadata:
        raise ValueError("a tensor with a lazy conjugate or negation; save a resolved copy of it")
    if type(storage) is not _Storage:
        raise ValueError("a tensor without a storage")
    if type(offset) is not int or offset < 0:
        raise ValueError("a tensor whose offset is not a natural number")
    sizes, strides = _naturals(size), _naturals(stride)
    if len(sizes) != len(strides):
        raise ValueError(f"a tensor with {len(sizes)} sizes and {len(strides)} strides")
    reach = sum((extent - 1) * step for extent, step in zip(sizes, strides, strict=True))
    end = offset if 0 in sizes else offset + reach + 1
    if end > storage.length:
        raise ValueError(f"a tensor up to element {end} of {storage.length} in {storage.key}")
    return _Tensor(storage, offset, sizes, strides)


def _rebuild_parameter(data: object, requires_grad: object, backward_hooks: object) -> _Tensor:
    if type(data) is not _Tensor:
        raise ValueError("a parameter that does not wrap a tensor")
    return data


_ALLOWED: Mapping[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _empty_state_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "DoubleStorage"): _StorageType(np.dtype(np.float64)),
    ("torch", "FloatStorage"): _StorageType(np.dtype(np.float32)),
    ("torch", "HalfStorage"): _StorageType(np.dtype(np.float16)),
    ("torch", "BFloat16Storage"): _StorageType(np.dtype(ml_dtypes.bfloat16)),
    ("torch", "LongStorage"): _StorageType(np.dtype(np.int64)),
    ("torch", "IntStorage"): _StorageType(np.dtype(np.int32)),
    ("torch", "BoolStorage"): _StorageType(np.dtype(np.bool_)),
}


def _reference_storage(reference: object) -> _Storage:
    """Return what torch's persistent id, ('storage', type, key, device, length), refers to."""
    if type(reference) is not tuple or len(reference) != 5:
        raise ValueError("a storage reference that is not a tuple of five")
    tag, kind, key, device, length = reference
    if type(tag) is not str or tag != "storage" or type(device) is not str:
        raise ValueError("a storage reference that does not start with 'storage'")
    if type(kind) is not _StorageType:
        raise ValueError("a storage reference without a storage type")
    if type(key) is not str or not re.fullmatch(r"[0-9]{1,20}", key):
        raise ValueError("a storage key that is not a number")
    if type(length) is not int or length < 0:
        raise ValueError(f"storage {key} without a length")
    return _Storage(kind.dtype, key, length)


def _check_state(state: object, max_bytes: int) -> dict[str, _Tensor]:
    """Return the tensors by name, all of them together within `max_bytes`."""
    if not isinstance(state, dict):
        raise ValueError(f"{type(state).__name__}, not a dictionary of tensors")
    storages: dict[str, _Storage] = {}
    total = 0
    for name, tensor in state.items():
        if type(tensor) is not _Tensor:
            raise ValueError(f"{type(tensor).__name__} under {name[:120]!r}, not a tensor")
        # An empty tensor's other extents count too, since numpy refuses absurd ones.
        elements = math.prod(max(extent, 1) for extent in tensor.size)
        total += elements * tensor.storage.dtype.itemsize
        if total > max_bytes:
            raise ValueError(f"tensors of more than {max_bytes} bytes, up to {name[:120]!r}")
        if storages.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise ValueError(f"storage {tensor.storage.key} with two types or lengths")
    return state


class _BoundedReader:
    """What zipfile needs of a file, a bounded number of bytes at a time.

    A central directory that claims more is cut short, which zipfile then refuses.
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


def _check_entries(archive: zipfile.ZipFile, file: BinaryIO, max_bytes: int) -> None:
    """Refuse an archive whose entries share a name or bytes, or expand beyond `max_bytes`."""
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
        if signature != _ZIP_START:
            raise ValueError(f"no entry where {entry.filename[:120]!r} should start")
        end = entry.header_offset + len(header) + name_length + extra_length
        end += entry.compress_size
    if end > archive.start_dir:
        raise ValueError("an entry that runs into the central directory")


def _read_entry(archive: zipfile.ZipFile, name: str, *, sizes: range) -> bytearray:
    """Return the bytes of an entry, whose declared size is one of `sizes`."""
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
    content = bytearray()
    with archive.open(entry) as stream:
        # The last, empty read is what makes zipfile compare the checksum of an empty entry.
        while chunk := stream.read(_MAX_READ_BYTES):
            content += chunk
    if len(content) != entry.file_size:
        raise ValueError(f"entry {name[:120]!r} cut off after {len(content)} bytes")
    return content


def _read_storage(archive: zipfile.ZipFile, root: str, storage: _Storage, order: str) -> np.ndarray:
    size = storage.length * storage.dtype.itemsize
    content = _read_entry(archive, f"{root}data/{storage.key}", sizes=range(size, size + 1))
    flat = np.frombuffer(content, np.dtype(f"u{storage.dtype.itemsize}"))
    if storage.dtype == np.bool_ and flat.max(initial=0) > 1:
        raise ValueError(f"storage {storage.key} of truth values other than 0 and 1")
    return (flat if order == sys.byteorder else flat.byteswap()).view(storage.dtype)


def _copy_view(tensor: _Tensor, flat: np.ndarray) -> np.ndarray:
    if 0 in tensor.size:
        return np.zeros(tensor.size, flat.dtype)
    # torch leaves the stride of an axis of extent one undefined; it may not fit numpy's.
    strides = [
        step * flat.dtype.itemsize if extent > 1 else 0
        for extent, step in zip(tensor.size, tensor.stride, strict=True)
    ]
    start = flat[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.size, strides, writeable=False).copy()


def _read_archive(file: BinaryIO, name: str, max_bytes: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(_BoundedReader(file)) as archive:
        _check_entries(archive, file, max_bytes)
        names = archive.namelist()
        roots = [entry[:-8] for entry in names if re.fullmatch(r"[^/]+/data\.pkl", entry)]
        if len(roots) != 1:
            raise ValueError(f"{len(roots)} entries named data.pkl, not one")
        root, order = roots[0], "little"
        if f"{root}byteorder" in names:
            order = _read_entry(archive, f"{root}byteorder", sizes=range(17)).decode("ascii")
        if order not in ("little", "big"):
            raise ValueError(f"byte order {order!r}")
        pickled = _read_entry(archive, f"{root}data.pkl", sizes=range(MAX_PICKLE_BYTES + 1))
        state = load_restricted(
            bytes(pickled),
            allowed=_ALLOWED,
            name=f"{name}, data.pkl",
            persistent_load=_reference_storage,
        )
        tensors = _check_state(state, max_bytes)
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        flat = {key: _read_storage(archive, root, storages[key], order) for key in storages}
    return {key: _copy_view(tensor, flat[tensor.storage.key]) for key, tensor in tensors.items()}


def read_state_dict(path: Path, *, max_bytes: int = 1 << 30) -> dict[str, np.ndarray]:
    """Return the tensors of a `torch.save`d state dict as arrays that own their memory.

    Keys and their order are the file's, dtypes are the storages' (bfloat16 is ml_dtypes's), in
    this machine's byte order. Neither the file, nor all its entries expanded, nor all the arrays
    may exceed `max_bytes` each; entries that no tensor refers to are not read.

    Source: torch's zip serialization, `docs/source/notes/serialization.rst` in pytorch.

    Raises:
        FileNotFoundError: if nothing is at `path`.
        UpstreamFormatError: if the file is anything but such an archive, of dense tensors only.
    """
    require_file(path, max_bytes=max_bytes)
    with path.open("rb") as file:
        start = file.read(len(_ZIP_START))
        if start != _ZIP_START:
            raise UpstreamFormatError(
                f"{path}: expected a zip archive written by torch 1.6 or later, but it starts "
                f"with {start!r}. If an older torch wrote it, load it with a current torch "
                "(weights_only=True) and torch.save it again; otherwise fetch it again."
            )
        try:
            return _read_archive(file, str(path), max_bytes)
        except UpstreamFormatError:
            raise
        # Whatever a hostile file brings about is the file's fault; the cause is kept.
        except Exception as error:
            raise UpstreamFormatError(
                f"{path}: expected a state dict in torch's zip format, but found "
                f"{error or type(error).__name__}. The file is damaged or not upstream's: fetch "
                "it again, or save the model's state_dict() with a current torch."
            ) from error
