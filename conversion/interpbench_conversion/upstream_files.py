"""Find and read the files that upstream publishes for a case.

Configs and edges are pickles, read with stand-ins for the few classes that they name; the
metadata is JSON. Everything comes back as plain Python values.
"""

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from interpbench_conversion.errors import UpstreamFormatError, read_bounded
from interpbench_conversion.pickles import MAX_PICKLE_BYTES, load_restricted

MAX_META_BYTES = 1 << 20
MAX_META_DEPTH = 32

# A run's number, or for IOI the weights of three losses: ll_model_510.pth, ll_model_100_100_40.pth.
_WEIGHTS_NAME = re.compile(r"ll_model((?:_[0-9]+)*)\.pth")
_IOI_RUN = re.compile(r"(?:_[0-9]+){3}")
_IOI_META = "training_args.json"
# Our addition to the training arguments.
CASE_KEY = "interpbench_jax_case"
_UPSTREAM_NAME = re.compile(r"(?:ll_model|meta|edges).*\.(?:pth|pkl|json)")
_JSON_TOKEN = re.compile(r'\\.|["\[\]{}]', re.DOTALL)

# numpy's type codes in a pickled dtype, and struct's codes for the same numbers.
_NUMBER_FORMATS: Mapping[str, str] = {
    "b1": "?",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
}
_BYTE_ORDERS: Mapping[str, str] = {"<": "<", ">": ">", "|": "<"}
_TORCH_DTYPES = "bfloat16 bool float16 float32 float64 int16 int32 int64 int8 uint8".split()
# The base that copyreg._reconstructor is given; upstream's files use no other.
_OBJECT = object()


@dataclass(frozen=True)
class UpstreamFiles:
    """A case's files; `layout` is "v1" (numbered names) or "current".

    Only release 1.0.0's IOI models have no config; theirs is `configs.IOI_CONFIG`.
    """

    weights: Path
    config: Path | None
    edges: Path | None
    meta: Path | None
    layout: str


class _Dtype:
    """Stands in for `numpy.dtype` of one number; its byte order arrives as pickled state."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if type(code) is not str or code not in _NUMBER_FORMATS:
            raise ValueError("a numpy dtype that is not of one plain number")
        self._code = code
        self._order = "<"

    def __setstate__(self, state: object) -> None:
        if type(state) is not tuple or len(state) not in (8, 9):
            raise ValueError("a numpy dtype whose state is not a tuple of eight or nine")
        order = state[1]
        if type(order) is not str or order not in _BYTE_ORDERS:
            raise ValueError("a numpy dtype without a byte order")
        if any(part is not None for part in state[2:5]):
            raise ValueError("a numpy dtype with fields or a shape")
        self._order = _BYTE_ORDERS[order]

    def unpack(self, raw: bytes) -> bool | int | float:
        (number,) = struct.unpack(self._order + _NUMBER_FORMATS[self._code], raw)
        return number


class _Config:
    """Stands in for TransformerLens's `HookedTransformerConfig`, a dataclass."""

    # On the class, because a file may create an object without ever giving it a state.
    state: dict[str, object] | None = None

    def __setstate__(self, state: object) -> None:
        if type(state) is not dict:
            raise ValueError("a HookedTransformerConfig whose state is not a dict")
        self.state = state


def _unpack_scalar(dtype: object, raw: object) -> bool | int | float:
    if type(dtype) is not _Dtype or type(raw) is not bytes:
        raise ValueError("a numpy scalar that is not a dtype and its bytes")
    return dtype.unpack(raw)


def _encode_latin1(text: object, encoding: object) -> bytes:
    """Undo the encoding of bytes in pickle's protocol 2."""
    if type(text) is not str or type(encoding) is not str or encoding != "latin1":
        raise ValueError("bytes in another encoding than latin1")
    return text.encode("latin-1")


def _format_device(kind: object, index: object = None) -> str:
    if type(kind) is not str or not (index is None or type(index) is int):
        raise ValueError("a torch device that is not a name and a number")
    return kind if index is None else f"{kind}:{index}"


def _reconstruct(kind: object, base: object, state: object) -> _Config:
    if kind is not _Config or base is not _OBJECT or state is not None:
        raise ValueError("copyreg._reconstructor of something other than a config")
    return _Config()


_CONFIG_NAMES: Mapping[tuple[str, str], object] = {
    ("transformer_lens.HookedTransformerConfig", "HookedTransformerConfig"): _Config,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("copy_reg", "_reconstructor"): _reconstruct,
    ("builtins", "object"): _OBJECT,
    ("__builtin__", "object"): _OBJECT,
    ("_codecs", "encode"): _encode_latin1,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _unpack_scalar,
    ("numpy._core.multiarray", "scalar"): _unpack_scalar,
    ("torch", "device"): _format_device,
    **{("torch", name): f"torch.{name}" for name in _TORCH_DTYPES},
}


def _is_plain(value: object) -> bool:
    return value is None or type(value) in (bool, int, float, str)


def read_config(path: Path) -> dict[str, object]:
    """Return a transformer config's keys and values as they are in the file.

    Values are None, bool, int, float, str or a list of these: numpy scalars become Python
    numbers, torch dtypes "torch.float32" and the like, devices "cpu" or "cuda:0". Whether a key
    or value is implemented is for the caller to decide.

    Source: a dict or a `HookedTransformerConfig` of TransformerLens 1.x, pickled by upstream's
    trainer.

    Raises:
        FileNotFoundError: if there is no file at `path`.
        UpstreamFormatError: if the file holds anything else.
    """
    data = read_bounded(path, max_bytes=MAX_PICKLE_BYTES)
    loaded = load_restricted(data, allowed=_CONFIG_NAMES, name=str(path))
    config = loaded.state if isinstance(loaded, _Config) else loaded
    if type(config) is not dict:
        raise UpstreamFormatError(
            f"{path}: expected a dict or a HookedTransformerConfig, but it holds "
            f"{type(config).__name__}; is it the file ll_model_cfg*.pkl?"
        )
    for key, value in config.items():
        if not _is_plain(value) and not (type(value) is list and all(map(_is_plain, value))):
            raise UpstreamFormatError(
                f"{path}: expected plain values, but {key[:120]!r} is {type(value).__name__}; "
                "if upstream now writes it, add its meaning to "
                "conversion/interpbench_conversion/upstream_files.py."
            )
    return config


def read_edges(path: Path) -> tuple[tuple[str, str], ...]:
    """Return upstream's edges verbatim and in order, (from, to) as TransformerLens hook names.

    Source: `edges.pkl`, a list of pairs of strings.

    Raises:
        FileNotFoundError: if there is no file at `path`.
        UpstreamFormatError: if the file holds anything else.
    """
    data = read_bounded(path, max_bytes=MAX_PICKLE_BYTES)
    loaded = load_restricted(data, allowed={}, name=str(path))
    if type(loaded) is not list:
        raise UpstreamFormatError(
            f"{path}: expected a list of edges, but it holds {type(loaded).__name__}; is it the "
            "file edges.pkl?"
        )
    edges: list[tuple[str, str]] = []
    for number, edge in enumerate(loaded):
        match edge:
            case (str(source), str(target)) if type(edge) is tuple:
                edges.append((source, target))
            case _:
                raise UpstreamFormatError(
                    f"{path}: expected each edge to be a pair of strings, but edge {number} is "
                    f"{type(edge).__name__} of another kind; fetch the file again."
                )
    return tuple(edges)


def _finite_float(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise ValueError(f"the number {literal[:40]}")
    return value


def _short_int(literal: str) -> int:
    if len(literal) > 40:
        raise ValueError(f"a number of {len(literal)} digits")
    return int(literal)


def _object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keyed = dict(pairs)
    if len(keyed) != len(pairs):
        raise ValueError("the same key twice in one object")
    return keyed


def _check_depth(text: str) -> None:
    """Refuse deep nesting before it reaches the parser, which recurses in C."""
    depth, in_string = 0, False
    for token in _JSON_TOKEN.findall(text):
        if token == '"':
            in_string = not in_string
        elif not in_string:
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token, 0)
            if depth > MAX_META_DEPTH:
                raise ValueError(f"more than {MAX_META_DEPTH} levels of nesting")


def read_meta(path: Path) -> dict[str, object]:
    """Return the JSON object in upstream's `meta*.json`: how the case was trained.

    Raises:
        FileNotFoundError: if there is no file at `path`.
        UpstreamFormatError: if it is not one object of strict JSON in UTF-8: duplicate keys, NaN,
            infinities, integers of more than 40 characters and deep nesting are refused.
    """
    data = read_bounded(path, max_bytes=MAX_META_BYTES)
    try:
        text = data.decode("utf-8")
        _check_depth(text)
        loaded = json.loads(
            text,
            object_pairs_hook=_object_of,
            parse_constant=_finite_float,
            parse_float=_finite_float,
            parse_int=_short_int,
        )
        if type(loaded) is not dict:
            raise ValueError(f"{type(loaded).__name__}, not an object")
    except ValueError as error:
        raise UpstreamFormatError(
            f"{path}: expected one object of strict JSON, but found {error}; fetch the file again."
        ) from error
    return loaded


def noted_case(files: UpstreamFiles) -> str | None:
    """Return the id that `to_torch.write_upstream` noted; None for files that upstream wrote.

    Upstream's files do not say which case they hold.

    Raises:
        UpstreamFormatError: if the file of training arguments is not understood.
    """
    noted = None if files.meta is None else read_meta(files.meta).get(CASE_KEY)
    return noted if isinstance(noted, str) else None


def find_upstream_files(directory: Path) -> UpstreamFiles | None:
    """Return the case's files in `directory`, or None if it has no upstream weights.

    Raises:
        FileNotFoundError: if there is no such directory.
        UpstreamFormatError: if there are several weights files, or one without its config.
    """
    if not directory.is_dir():
        raise FileNotFoundError(
            f"Expected a folder of upstream's files at {directory}, but there is none; give the "
            "folder that holds ll_model*.pth."
        )
    names = sorted(entry.name for entry in directory.iterdir() if entry.is_file())
    runs = [match[1] for name in names if (match := _WEIGHTS_NAME.fullmatch(name))]
    if not runs:
        return None
    run = runs[0]
    config = f"ll_model_cfg{run}.pkl"
    is_ioi = _IOI_RUN.fullmatch(run) is not None
    # A config of another name may or may not be this model's.
    may_lack_config = is_ioi and not any(name.startswith("ll_model_cfg") for name in names)
    if len(runs) > 1 or (config not in names and not may_lack_config):
        found = ", ".join(name for name in names if _UPSTREAM_NAME.fullmatch(name))
        wanted = "one weights file" if len(runs) > 1 else f"{config} next to the weights"
        raise UpstreamFormatError(
            f"{directory}: expected {wanted}, but found {found}; keep one model per folder, "
            "with its config."
        )
    metas = [f"meta{run}.json", *([_IOI_META] if is_ioi else [])]
    meta = next((name for name in metas if name in names), None)
    return UpstreamFiles(
        weights=directory / f"ll_model{run}.pth",
        config=directory / config if config in names else None,
        edges=directory / "edges.pkl" if "edges.pkl" in names else None,
        meta=directory / meta if meta is not None else None,
        layout="v1" if run else "current",
    )
