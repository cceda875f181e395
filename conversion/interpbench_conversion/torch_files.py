"""Read weights from a file that `torch.save` wrote, without torch.

The file is a zip archive: `<name>/data.pkl` pickles a dictionary of tensors, each a view
(offset, size and stride) of a storage whose bytes are the entry `<name>/data/<key>`. The pickle
is read into plain records first; all of them are checked before any storage is read. A storage
that only one tensor uses, as is the rule, is read from the file directly into the returned array.
"""

import math
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, cast

import ml_dtypes
import numpy as np

from interpbench_conversion.errors import UpstreamFormatError, open_file
from interpbench_conversion.pickles import MAX_PICKLE_BYTES, load_restricted
from interpbench_conversion.selection import TensorSelection
from interpbench_conversion.torch_archive import (
    BLOCK_BYTES,
    ZIP_START,
    fill,
    open_archive,
    open_entry,
    read_entry,
)

_MAX_AXES = 32
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


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
    """Stands in for `collections.OrderedDict`; we ignore the `_metadata` that torch attaches."""

    def __setstate__(self, state: object) -> None:
        if type(state) is not dict:
            raise ValueError("a state of an OrderedDict that is not a dict")


# A function instead of the class: dict's own constructor would hash what the file passes.
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


def _unwrap(state: object) -> dict[str, object]:
    """Return the model's part of what was saved, under the model's own names.

    Trainers save the model beside their own state, and wrappers put a prefix before every name:
    `DataParallel` puts `module.`, `torch.compile` puts `_orig_mod.`.
    """
    if isinstance(state, dict):
        wrappers = [key for key in _WRAPPERS if isinstance(state.get(key), dict)]
        if len(wrappers) > 1:
            raise ValueError(f"models under {' and '.join(map(repr, wrappers))}; keep one of them")
        state = state[wrappers[0]] if wrappers else state
    if not isinstance(state, dict):
        raise ValueError(f"{type(state).__name__}, not a dictionary of tensors")
    named = all(isinstance(name, str) for name in state)
    while named and state:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _check_state(saved: object, max_bytes: int) -> dict[str, _Tensor]:
    """Return the tensors by name, which together have at most `max_bytes` bytes."""
    state = _unwrap(saved)
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
    return cast("dict[str, _Tensor]", state)


class _Storages:
    """The storages of an open archive, read when a tensor needs them."""

    def __init__(
        self, archive: zipfile.ZipFile, root: str, order: str, tensors: Iterable[_Tensor]
    ) -> None:
        self._archive = archive
        self._root = root
        self._is_foreign = order != sys.byteorder
        self._users = Counter(tensor.storage.key for tensor in tensors)
        self._shared: dict[str, np.ndarray] = {}

    def read(self, tensor: _Tensor, selection: TensorSelection | None) -> np.ndarray:
        """Return a tensor, or a part of it, as an array that owns its memory."""
        if selection is not None and selection.shape != tensor.size:
            raise ValueError(f"a tensor of shape {tensor.size}, not {selection.shape}")
        if self._users[tensor.storage.key] > 1 or not _is_whole(tensor):
            array = _copy_view(tensor, self._flat(tensor.storage))
            return array if selection is None else selection.take(array)
        with self._open(tensor.storage) as stream:
            if selection is None:
                return self._fill(stream, np.empty(tensor.size, tensor.storage.dtype))
            return selection.gather(self._blocks(stream, tensor), tensor.storage.dtype)

    def _open(self, storage: _Storage) -> AbstractContextManager[zipfile.ZipExtFile]:
        size = storage.length * storage.dtype.itemsize
        name = f"{self._root}data/{storage.key}"
        return open_entry(self._archive, name, sizes=range(size, size + 1))

    def _fill(self, stream: zipfile.ZipExtFile, array: np.ndarray) -> np.ndarray:
        """Fill an array with the next bytes of the stream, and return it."""
        fill(stream, array)
        raw = array.reshape(-1).view(f"u{array.itemsize}")
        if array.dtype == np.bool_ and raw.max(initial=0) > 1:
            raise ValueError("truth values other than 0 and 1")
        if self._is_foreign:
            raw.byteswap(inplace=True)
        return array

    def _blocks(self, stream: zipfile.ZipExtFile, tensor: _Tensor) -> Iterator[np.ndarray]:
        """Yield a tensor as blocks of rows, each of which is overwritten by the next one."""
        rows, *row = tensor.size
        row_bytes = math.prod(row) * tensor.storage.dtype.itemsize
        count = max(1, BLOCK_BYTES // row_bytes)
        buffer = np.empty((min(count, rows), *row), tensor.storage.dtype)
        for start in range(0, rows, count):
            yield self._fill(stream, buffer[: rows - start])

    def _flat(self, storage: _Storage) -> np.ndarray:
        """Return a whole storage; one that several tensors share is read once."""
        if storage.key in self._shared:
            return self._shared[storage.key]
        with self._open(storage) as stream:
            flat = self._fill(stream, np.empty(storage.length, storage.dtype))
        if self._users[storage.key] > 1:
            self._shared[storage.key] = flat
        return flat


def _is_whole(tensor: _Tensor) -> bool:
    """Whether a tensor covers its storage from end to end, in row-major order."""
    step = 1
    for extent, stride in zip(reversed(tensor.size), reversed(tensor.stride), strict=True):
        if extent > 1 and stride != step:
            return False
        step *= extent
    return tensor.offset == 0 and step == tensor.storage.length and step > 0


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


def _read_archive(
    file: BinaryIO, name: str, max_bytes: int, selections: Mapping[str, TensorSelection]
) -> dict[str, np.ndarray]:
    with open_archive(file, max_bytes=max_bytes) as archive:
        names = archive.namelist()
        roots = [entry[:-8] for entry in names if re.fullmatch(r"[^/]+/data\.pkl", entry)]
        if len(roots) != 1:
            raise ValueError(f"{len(roots)} entries named data.pkl, not one")
        root, order = roots[0], "little"
        if f"{root}byteorder" in names:
            order = read_entry(archive, f"{root}byteorder", sizes=range(17)).decode("ascii")
        if order not in ("little", "big"):
            raise ValueError(f"byte order {order!r}")
        state = load_restricted(
            read_entry(archive, f"{root}data.pkl", sizes=range(MAX_PICKLE_BYTES + 1)),
            allowed=_ALLOWED,
            name=f"{name}, data.pkl",
            persistent_load=_reference_storage,
        )
        tensors = _check_state(state, max_bytes)
        storages = _Storages(archive, root, order, tensors.values())
        arrays: dict[str, np.ndarray] = {}
        for key, tensor in tensors.items():
            try:
                arrays[key] = storages.read(tensor, selections.get(key))
            except ValueError as error:
                raise ValueError(f"{error} (tensor {key[:120]!r})") from error
    return arrays


def read_state_dict(
    path: Path,
    *,
    max_bytes: int = 1 << 30,
    selections: Mapping[str, TensorSelection] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """Return the tensors of a `torch.save`d state dict as arrays that own their memory.

    A checkpoint with the state dict under `"state_dict"`, `"model_state_dict"` or `"model"` is
    accepted too; a `module.` or `_orig_mod.` prefix that every key has is removed.

    Keys and their order are the file's, dtypes are the storages' (bfloat16 is ml_dtypes's), in
    this machine's byte order. The file, its expanded entries together, and the arrays together
    have at most `max_bytes` bytes each; entries that no tensor refers to are not read. The memory
    used is that of the arrays and one block, and of any storage that several tensors share.

    Source: torch's zip serialization, `docs/source/notes/serialization.rst` in pytorch.

    Args:
        path: the file.
        max_bytes: the limit on each of these sizes.
        selections: the part to keep of some tensors, by name. Their rest is read too, a block at
            a time: checksums are compared, and every number of these tensors must be finite.

    Raises:
        FileNotFoundError: if there is no file at `path`.
        UpstreamFormatError: if the file is not such an archive of dense tensors only, or a
            selection is for a tensor of another shape.
    """
    with open_file(path, max_bytes=max_bytes) as file:
        start = file.read(len(ZIP_START))
        if start != ZIP_START:
            raise UpstreamFormatError(
                f"{path}: expected a zip archive written by torch 1.6 or later, but it starts "
                f"with {start!r}. If an older torch wrote it, load it with a current torch "
                "(weights_only=True) and torch.save it again; otherwise fetch it again."
            )
        try:
            return _read_archive(file, str(path), max_bytes, selections)
        except UpstreamFormatError:
            raise
        # Whatever error a hostile file causes is the file's fault; the cause is kept.
        except Exception as error:
            raise UpstreamFormatError(
                f"{path}: expected a state dict in torch's zip format, but found "
                f"{error or type(error).__name__}. The file is damaged or not upstream's: fetch "
                "it again, or save the model's state_dict() with a current torch."
            ) from error
