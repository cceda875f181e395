"""Upstream's configs, edges and metadata, and the search for its files in a folder."""

import json
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from interpbench_conversion.errors import UpstreamFormatError
from interpbench_conversion.upstream_files import (
    UpstreamFiles,
    find_upstream_files,
    read_config,
    read_edges,
    read_meta,
)
from tests.conversion.hostile import call, dict_of, named, number, pickled, text, tuple_of

UPSTREAM = Path(__file__).resolve().parents[3] / "shared" / "upstream"
FOLDERS = sorted(path.parent for path in UPSTREAM.glob("release*/*/edges.pkl"))
needs_upstream = pytest.mark.skipif(not FOLDERS, reason=f"no upstream files at {UPSTREAM}")
each_folder = pytest.mark.parametrize(
    "folder", FOLDERS, ids=lambda path: f"{path.parts[-2]}-{path.parts[-1]}"
)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


class _Dtype:
    """A class that pickles like `torch.float32`: as a name in the module torch."""

    __module__ = "torch"

    def __reduce__(self) -> str:
        return "float32"


class _Device:
    """A class that pickles like `torch.device`: as a call of its class."""

    __module__, __qualname__ = "torch", "device"

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), ("cuda", 1)


class _Config:
    """A class that pickles like TransformerLens's dataclass."""

    __module__ = "transformer_lens.HookedTransformerConfig"
    __qualname__ = "HookedTransformerConfig"


PLAIN = {
    "n_layers": 2,
    "seed": 2**80,
    "act_fn": "gelu",
    "attn_types": ["global", "local"],
    "window_size": None,
    "use_attn_result": True,
    "initializer_range": 0.1460593486680443,
    "dtype": "torch.float32",
    "device": "cuda:1",
}


ONES = {
    name: getattr(np, name)(1)
    for name in ("bool", "int8", "int16", "int32", "int64", "uint16", "float16", "float32")
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("numpy_module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_configs_become_plain_values(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: int,
    numpy_module: bytes,
    wrapped: bool,
) -> None:
    for module, members in (
        ("torch", {"float32": (dtype := _Dtype()), "device": _Device}),
        ("transformer_lens", {}),
        ("transformer_lens.HookedTransformerConfig", {"HookedTransformerConfig": _Config}),
    ):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        vars(sys.modules[module]).update(members)
    initial = np.float64(PLAIN["initializer_range"])
    fields = PLAIN | ONES | {"initializer_range": initial, "dtype": dtype, "device": _Device()}
    config = _Config()
    vars(config).update(fields)
    data = pickle.dumps(config if wrapped else fields, protocol)
    if protocol < 4:
        # Later protocols prefix names with their length, so we leave the name that NumPy writes.
        data = data.replace(b"numpy._core.multiarray", numpy_module)
    loaded = read_config(write(tmp_path / "cfg.pkl", data))
    assert loaded == PLAIN | dict.fromkeys(ONES, 1)
    kinds = {key: type(value) for key, value in loaded.items()}
    assert (kinds["bool"], kinds["int8"], kinds["float16"]) == (bool, int, float)
    assert kinds["initializer_range"] is float


def test_a_big_endian_scalar(tmp_path: Path) -> None:
    data = pickle.dumps({"eps": np.array(1.5, ">f4")[()], "n": np.array(258, ">i2")[()]}, 4)
    swapped = data.replace(b"\x8c\x01<", b"\x8c\x01>").replace(
        np.float32(1.5).tobytes(), np.float32(1.5).tobytes()[::-1]
    )
    swapped = swapped.replace(np.int16(258).tobytes(), np.int16(258).tobytes()[::-1])
    assert swapped != data
    assert read_config(write(tmp_path / "cfg.pkl", swapped)) == {"eps": 1.5, "n": 258}


def test_a_config_rebuilt_through_copyreg(tmp_path: Path) -> None:
    for module, builtins in (("copyreg", "builtins"), ("copy_reg", "__builtin__")):
        kind = named("transformer_lens.HookedTransformerConfig", "HookedTransformerConfig")
        rebuilt = call(
            named(module, "_reconstructor"), kind, named(builtins, "object"), pickle.NONE
        )
        data = pickled(rebuilt + dict_of({"n_layers": number(3)}) + pickle.BUILD)
        assert read_config(write(tmp_path / "cfg.pkl", data)) == {"n_layers": 3}


CONFIG = named("transformer_lens.HookedTransformerConfig", "HookedTransformerConfig")
NEW_CONFIG = CONFIG + pickle.EMPTY_TUPLE + pickle.NEWOBJ
SCALAR = named("numpy.core.multiarray", "scalar")
DTYPE = named("numpy", "dtype")
BAD_CONFIGS = {
    "a list": (pickled(pickle.EMPTY_LIST), "expected a dict or a HookedTransformerConfig"),
    "the class itself": (pickled(CONFIG), "but it holds type"),
    "without a state": (pickled(NEW_CONFIG), "but it holds NoneType"),
    "a state of slots": (
        pickled(NEW_CONFIG + tuple_of(pickle.NONE, pickle.EMPTY_DICT) + pickle.BUILD),
        "state is not a dict",
    ),
    "a tuple for a value": (pickled(dict_of({"a": tuple_of()})), "'a' is tuple"),
    "lists in lists": (
        pickled(dict_of({"a": pickle.EMPTY_LIST * 2 + pickle.APPEND})),
        "'a' is list",
    ),
    "a function for a value": (pickled(dict_of({"a": SCALAR})), "'a' is function"),
    "a dtype for a value": (pickled(dict_of({"a": call(DTYPE, text("f8"))})), "'a' is _Dtype"),
    "an object array": (pickled(call(DTYPE, text("O8"))), "not of one plain number"),
    "an unhashable dtype": (pickled(call(DTYPE, pickle.EMPTY_LIST)), "not of one plain number"),
    "a dtype never set up": (
        pickled(call(SCALAR, DTYPE + pickle.EMPTY_TUPLE + pickle.NEWOBJ, b"C\x08" + b"\0" * 8)),
        "_order",
    ),
    "too few bytes": (
        pickled(call(SCALAR, call(DTYPE, text("f8")), pickle.SHORT_BINBYTES + b"\1a")),
        "requires a buffer of 8 bytes",
    ),
    "a scalar of text": (pickled(call(SCALAR, call(DTYPE, text("f8")), text("a"))), "its bytes"),
    "a device of tuples": (pickled(call(named("torch", "device"), tuple_of())), "torch device"),
    "another encoding": (
        pickled(call(named("_codecs", "encode"), text("a"), text("zip"))),
        "another encoding",
    ),
    "object on its own": (
        pickled(named("builtins", "object") + pickle.EMPTY_TUPLE + pickle.NEWOBJ),
        "NEWOBJ",
    ),
    "another class": (
        pickled(named("transformer_lens", "HookedTransformer")),
        r"'transformer_lens\.HookedTransformer'",
    ),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_configs_that_are_refused(tmp_path: Path, case: str) -> None:
    data, message = BAD_CONFIGS[case]
    with pytest.raises(UpstreamFormatError, match=message) as caught:
        read_config(write(tmp_path / "cfg.pkl", data))
    assert "cfg.pkl" in str(caught.value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("edges", [[], [("a", "b")], [("a", "b"), ("b", "c"), ("a", "b")]])
def test_edges_come_back_in_order(
    tmp_path: Path, edges: list[tuple[str, str]], protocol: int
) -> None:
    path = write(tmp_path / "edges.pkl", pickle.dumps(edges, protocol))
    assert read_edges(path) == tuple(edges)


@pytest.mark.parametrize(
    "value",
    [None, {}, (("a", "b"),), ["ab"], [["a", "b"]], [("a",)], [("a", 1)], [("a", "b", "c")]],
)
def test_other_edges_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(UpstreamFormatError, match=r"edges\.pkl: expected"):
        read_edges(write(tmp_path / "edges.pkl", pickle.dumps(value, 4)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1, "a": 1}', "same key twice"),
        (b'{"a": {"b": 1, "b": 2}}', "same key twice"),
        (b'{"a": NaN}', "the number NaN"),
        (b'{"a": -Infinity}', "the number -Infinity"),
        (b'{"a": 1e999}', "the number 1e999"),
        (b'{"a": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b'{"a": ' + b"[" * 500_000 + b"}", "levels of nesting"),
        (b'{"a": ' + b'{"a":' * 33 + b"1" + b"}" * 34, "levels of nesting"),
        (b"[1]", "list, not an object"),
        (b"{'a': 1}", "Expecting property name"),
        (b'{"a": 1} x', "Extra data"),
        (b'{"a": "\xff"}', "codec can't decode"),
        (b"", "Expecting value"),
        (b" " * (1 << 20) + b"{}", "at most 1,048,576 bytes"),
    ],
)
def test_other_metadata_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UpstreamFormatError, match=message) as caught:
        read_meta(write(tmp_path / "meta.json", content))
    assert "meta.json" in str(caught.value)


def test_brackets_in_strings_are_no_nesting(tmp_path: Path) -> None:
    value = {"a": "[" * 100 + '"' + "{" * 100 + "\\", "b": [[1.5, None, True]], "é": -3}
    path = write(tmp_path / "meta.json", json.dumps(value, ensure_ascii=False).encode())
    assert read_meta(path) == value


@pytest.mark.parametrize("read", [read_config, read_edges, read_meta])
def test_missing_and_oversized_files(tmp_path: Path, read: type) -> None:
    with pytest.raises(FileNotFoundError, match="nothing is there"):
        read(tmp_path / "absent")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(UpstreamFormatError, match=r"Expected at most .*sparse, got"):
        read(tmp_path / "sparse")


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize("run", ["", "_510", "_100_100_40"])
@pytest.mark.parametrize("complete", [False, True])
def test_both_layouts_are_found(tmp_path: Path, run: str, complete: bool) -> None:
    names = f"ll_model{run}.pth", f"ll_model_cfg{run}.pkl", "edges.pkl", f"meta{run}.json"
    _touch(tmp_path, *names[: 4 if complete else 2], "notes.txt", "meta_7.json")
    weights, config, edges, meta = (tmp_path / name for name in names)
    optional = (edges, meta) if complete else (None, None)
    expected = UpstreamFiles(weights, config, *optional, layout="v1" if run else "current")
    assert find_upstream_files(tmp_path) == expected


def test_ioi_of_release_1_has_no_config(tmp_path: Path) -> None:
    # The files in benchmark_metadata_v1.json: `ioi`'s, and with the last one `ioi_next_token`'s.
    _touch(tmp_path, "ll_model_100_100_40.pth", "corr_100_100_40.json")
    weights, meta = tmp_path / "ll_model_100_100_40.pth", tmp_path / "training_args.json"
    assert find_upstream_files(tmp_path) == UpstreamFiles(weights, None, None, None, layout="v1")
    _touch(tmp_path, "training_args.json")
    assert find_upstream_files(tmp_path) == UpstreamFiles(weights, None, None, meta, layout="v1")


@pytest.mark.parametrize("name", ["ll_model_cfg.pkl", "ll_model_cfg_100_100_80.pkl"])
def test_a_config_that_may_be_another_models_is_refused(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, "ll_model_100_100_40.pth", name)
    with pytest.raises(UpstreamFormatError, match=r"expected ll_model_cfg_100_100_40\.pkl next to"):
        find_upstream_files(tmp_path)


@needs_upstream
@pytest.mark.parametrize("case_id", ["ioi", "ioi_next_token"])
def test_the_published_files_of_ioi_are_found(tmp_path: Path, case_id: str) -> None:
    cases = json.loads((UPSTREAM / "benchmark_metadata_v1.json").read_text())["cases"]
    (case,) = (case for case in cases if case["case_id"] == case_id)
    _touch(tmp_path, *(file["file_name"] for file in case["files"]))
    files = find_upstream_files(tmp_path)
    assert files is not None and files.config is None and files.edges is None


@pytest.mark.parametrize("name", ["ll_model_510.pth", "ll_model_1_2.pth", "ll_model.pth"])
def test_other_models_need_their_config(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, name, "corr_100_100_40.json")
    with pytest.raises(UpstreamFormatError, match="next to the weights"):
        find_upstream_files(tmp_path)


def test_folders_without_or_with_too_much(tmp_path: Path) -> None:
    _touch(tmp_path, "ll_model_cfg.pkl", "edges.pkl", "model.safetensors")
    assert find_upstream_files(tmp_path) is None
    _touch(tmp_path, "ll_model_510.pth")
    message = r"ll_model_cfg_510\.pkl next to .* found edges\.pkl, ll_model_510\.pth, ll_model_cfg"
    with pytest.raises(UpstreamFormatError, match=message):
        find_upstream_files(tmp_path)
    _touch(tmp_path, "ll_model.pth", "ll_model_cfg_510.pkl")
    with pytest.raises(UpstreamFormatError, match=r"one weights file.*ll_model\.pth, ll_model_510"):
        find_upstream_files(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        find_upstream_files(tmp_path / "absent")


@needs_upstream
@each_folder
def test_upstreams_files(folder: Path) -> None:
    files = find_upstream_files(folder)
    assert files is not None and files.edges is not None and files.config is not None
    assert files.layout == ("v1" if folder.parts[-2] == "release_v1" else "current")
    config = read_config(files.config)
    assert config["device"] == "cpu"
    assert config["dtype"] in ("torch.float32", "torch.float64")
    assert type(config["initializer_range"]) is float
    assert all(source.startswith(("hook_", "blocks.")) for source, _ in read_edges(files.edges))
    if files.meta is not None:
        assert read_meta(files.meta) == json.loads(files.meta.read_text())


# The fixture of case 13 was trained on the current release's program, not on 1.0.0's.
@needs_upstream
@pytest.mark.parametrize("folder", [path for path in FOLDERS if path.name in ("3", "11")], ids=str)
def test_upstreams_config_agrees_with_its_published_metadata(folder: Path) -> None:
    cases = json.loads((UPSTREAM / "benchmark_metadata_v1.json").read_text())["cases"]
    published = {case["case_id"]: case.get("transformer_cfg", {}) for case in cases}[folder.name]
    files = find_upstream_files(folder)
    assert files is not None and files.config is not None
    config = read_config(files.config)
    assert len(config.keys() & published.keys()) > 40
    assert {key: config.get(key, value) for key, value in published.items()} == published
