"""Our cases in upstream's files: read back by our reader, and by torch if it is installed."""

import errno
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

import ml_dtypes
import numpy as np
import pytest
from typer.testing import CliRunner

from interpbench_conversion import convert
from interpbench_conversion.configs import convert_config
from interpbench_conversion.errors import UpstreamFormatError
from interpbench_conversion.to_torch import FileLayout, transformer_lens_state, write_upstream
from interpbench_conversion.torch_files import read_state_dict
from interpbench_conversion.torch_writing import write_pickle, write_state_dict
from interpbench_conversion.upstream_files import find_upstream_files, read_config, read_edges
from interpbench_jax import load_case
from interpbench_jax.case import Case
from interpbench_jax.cases import CASES
from interpbench_jax.circuit import Circuit
from interpbench_jax.cli.main import app
from interpbench_jax.names import number_of
from interpbench_jax.universes import universe
from tests.fixtures import (
    MODEL_FOLDERS,
    UPSTREAM,
    random_weights,
    requires_upstream,
    tiny_config,
)
from tests.tiny_models import make_model

FILES = {
    "current": ["edges.pkl", "ll_model.pth", "ll_model_cfg.pkl", "meta.json"],
    "v1": ["edges.pkl", "ll_model_7.pth", "ll_model_cfg_7.pkl", "meta_7.json"],
}
SHAPES: dict[str, dict[str, object]] = {
    "plain": {},
    "bidirectional relu": {"attention_dir": "bidirectional", "act_fn": "relu"},
    "layer norm": {"normalization_type": "LNPre", "act_fn": "gelu_new", "eps": 1e-3},
    "regression": {"d_vocab_out": 1, "n_layers": 1, "n_heads": 1},
    "unscaled": {"use_attn_scale": False, "n_ctx": 1},
}

each_layout = pytest.mark.parametrize("layout", get_args(FileLayout))


def make_case(dtype: np.typing.DTypeLike = np.float32, **changes: object) -> Case:
    """Return a model with random weights and every edge in its circuit."""
    config = tiny_config(**changes)
    shape = config.n_layers, config.n_heads
    circuit = Circuit(*shape, universe("qkv", *shape).edges)
    return Case("random", config, random_weights(config, dtype), circuit)


def write(case: Case, folder: Path, layout: FileLayout = "current") -> Path:
    return write_upstream(case, folder, layout=layout, run=7 if layout == "v1" else 0)


def assert_same(read: Case, case: Case) -> None:
    """Assert that everything upstream's files store is the same, bit for bit."""
    assert read.config == case.config
    assert read.circuit == case.circuit
    assert set(read.weights) == set(case.weights)
    for name, array in case.weights.items():
        assert read.weights[name].dtype == array.dtype, name
        assert read.weights[name].shape == array.shape, name
        assert read.weights[name].tobytes() == array.tobytes(), name


# Round trips through our reader


@each_layout
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_written_is_read_back(
    shape: str, dtype: np.typing.DTypeLike, layout: FileLayout, tmp_path: Path
) -> None:
    case = make_case(dtype=dtype, **SHAPES[shape])
    folder = write(case, tmp_path / "a" / "random", layout)
    assert sorted(path.name for path in folder.iterdir()) == FILES[layout]
    read = load_case("random", folder)
    assert_same(read, case)
    assert read.provenance["layout"] == layout
    assert read.provenance["training_args"] == {}


@requires_upstream
@each_layout
@pytest.mark.parametrize("folder", MODEL_FOLDERS)
def test_upstreams_models_survive_both_ways(
    folder: str, layout: FileLayout, tmp_path: Path
) -> None:
    case = load_case(UPSTREAM / folder)
    read = load_case(case.case_id, write(case, tmp_path / case.case_id, layout))
    assert_same(read, case)
    assert (read.vocab, read.task_description) == (case.vocab, case.task_description)
    assert read.provenance["training_args"] == case.provenance["training_args"]
    # Our files of the same layout differ from upstream's only in config fields we do not keep.
    ours, theirs = (
        find_upstream_files(path) for path in (tmp_path / case.case_id, UPSTREAM / folder)
    )
    assert ours is not None and theirs is not None
    if ours.layout == theirs.layout and ours.edges is not None and theirs.edges is not None:
        assert read_edges(ours.edges) == read_edges(theirs.edges)
    state = read_state_dict(theirs.weights)
    again = read_state_dict(ours.weights)
    assert set(again) == set(state)
    assert all(again[name].dtype == array.dtype for name, array in state.items())
    assert all(np.array_equal(again[name], array) for name, array in state.items())
    assert ours.config is not None and theirs.config is not None
    fields, expected = read_config(ours.config), read_config(theirs.config)
    unknown = {"seed", "initializer_range"}
    # The random models are from TransformerLens 2, the others from 1.19, which refuses new fields.
    assert set(fields) <= set(expected) if "random" in folder else set(fields) == set(expected)
    assert {k: v for k, v in fields.items() if k not in unknown} == {
        k: expected[k] for k in fields if k not in unknown
    }


@each_layout
def test_without_a_circuit_there_is_no_edges_file(layout: FileLayout, tmp_path: Path) -> None:
    folder = write(make_case(), tmp_path / "random", layout)
    write(replace(make_case(), circuit=None), folder, layout)
    assert not (folder / "edges.pkl").exists()
    assert load_case("random", folder).circuit is None


def test_a_circuit_may_be_empty(tmp_path: Path) -> None:
    case = replace(make_case(), circuit=Circuit(2, 3, ()))
    assert_same(load_case("random", write(case, tmp_path)), case)


def test_arrays_in_any_order_of_memory(tmp_path: Path) -> None:
    case = make_case()
    odd = {
        name: np.asfortranarray(array).astype(">f4") if array.ndim > 1 else array[::-1].copy()[::-1]
        for name, array in case.weights.items()
    }
    assert_same(load_case("random", write(replace(case, weights=odd), tmp_path)), case)


def test_the_same_case_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(make_case(), tmp_path / name) for name in "ab")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_training_arguments_are_kept(tmp_path: Path) -> None:
    case = replace(make_case(), provenance={"training_args": {"lr": 0.1, "text": "é"}, "x": 1})
    folder = write(case, tmp_path)
    assert json.loads((folder / "meta.json").read_text()) == {
        "lr": 0.1,
        "text": "é",
        "interpbench_jax_case": case.case_id,
    }
    assert load_case("random", folder).provenance["training_args"] == {"lr": 0.1, "text": "é"}


@each_layout
def test_a_written_case_stays_of_its_release(layout: FileLayout, tmp_path: Path) -> None:
    for case_id in ("13", "24-current"):
        case = make_model(case_id)
        folder = write(case, tmp_path / number_of(case_id), layout)
        assert load_case(folder).case_id == load_case(case_id, folder).case_id == case_id
        assert load_case(case_id, tmp_path).task is CASES[case_id]
    with pytest.raises(ValueError, match=r"Expected case '24' .* of case '24-current'; request it"):
        load_case("24", tmp_path)


# Heads that a task moves: the current layout uses the compiled program's names


def moved_case(*names: tuple[str, str]) -> Case:
    task = CASES["3"]
    return Case(
        "3",
        task.config,
        random_weights(task.config),
        Circuit.from_names(names, task.config.n_layers, task.config.n_heads),
    )


HEAD_2 = "blocks.1.attn.hook_result[2]", "blocks.1.hook_resid_post"
HEAD_0 = "blocks.1.attn.hook_result[0]", "blocks.1.hook_resid_post"
HEAD_1 = "blocks.1.attn.hook_result[1]", "blocks.1.hook_resid_post"


def test_the_current_layout_names_the_programs_heads(tmp_path: Path) -> None:
    case = moved_case(HEAD_2, HEAD_1)
    assert read_edges(write(case, tmp_path / "3") / "edges.pkl") == (HEAD_0, HEAD_1)
    assert read_edges(write(case, tmp_path / "v1" / "3", "v1") / "edges.pkl") == (HEAD_2, HEAD_1)
    assert_same(load_case("3", tmp_path / "3"), case)
    assert_same(load_case("3", tmp_path / "v1" / "3"), case)


def test_a_head_that_the_current_layout_cannot_name_is_refused(tmp_path: Path) -> None:
    case = moved_case(HEAD_0)
    with pytest.raises(ValueError, match=r"Case '3': expected a circuit without .*\[0\].*'v1'"):
        write(case, tmp_path / "3")
    assert not (tmp_path / "3").exists()
    assert_same(load_case("3", write(case, tmp_path / "3", "v1")), case)


def test_another_vocabulary_does_not_hide_what_a_task_moves(tmp_path: Path) -> None:
    case = moved_case(HEAD_2)
    case = replace(case, vocab=tuple(map(str, range(case.config.d_vocab))))
    assert read_edges(write(case, tmp_path) / "edges.pkl") == (HEAD_0,)


# Folders that are not empty


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_case_may_be_written_again(tmp_path: Path) -> None:
    write(make_case(), tmp_path)
    other = make_case(dtype=np.float64, d_vocab_out=2)
    assert_same(load_case("random", write(other, tmp_path)), other)


@pytest.mark.parametrize("run", [0, 7])
def test_two_layouts_in_one_folder_are_refused(run: int, tmp_path: Path) -> None:
    before = listing(write(make_case(), tmp_path))
    message = r"another model's files, got ll_model\.pth, ll_model_cfg\.pkl; write to another"
    with pytest.raises(FileExistsError, match=message):
        write_upstream(make_case(), tmp_path, layout="v1", run=run)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(("layout", "run"), [("v1", 8), ("v1", 0), ("current", 0)])
def test_another_run_in_the_folder_is_refused(layout: FileLayout, run: int, tmp_path: Path) -> None:
    before = listing(write(make_case(), tmp_path, "v1"))
    with pytest.raises(FileExistsError, match=r"got ll_model_7\.pth, ll_model_cfg_7\.pkl"):
        write_upstream(make_case(), tmp_path, layout=layout, run=run)
    assert listing(tmp_path) == before


def test_a_folder_of_our_own_layout_is_refused(tmp_path: Path) -> None:
    make_case().save(tmp_path)
    before = listing(tmp_path)
    with pytest.raises(FileExistsError, match=r"got config\.json of our own layout"):
        write(make_case(), tmp_path)
    assert listing(tmp_path) == before


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(make_case(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write(make_case(d_vocab_out=2), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# The command


@pytest.mark.parametrize("option", ["upstream", "upstream-v1"])
def test_the_command_writes_upstreams_layouts(option: str, tmp_path: Path) -> None:
    case = make_case()
    source, target = case.save(tmp_path / "ours" / "random"), tmp_path / "theirs"
    arguments = ["convert", str(source), str(target), "--to", option, "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    sizes = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
    assert json.loads(result.stdout) == {
        "case_id": "random",
        "directory": str(target),
        "files": sizes,
    }
    read = load_case("random", target)
    assert_same(read, case)
    assert read.provenance["layout"] == ("v1" if option == "upstream-v1" else "current")


# Wrong arguments


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("layout", "run"), [("v2", 0), ("current", 1), ("v1", -1)])
def test_a_wrong_layout_or_run_is_named(layout: str, run: int, tmp_path: Path) -> None:
    message = rf"Expected layout 'v1' .* got layout='{layout}' with run={run}\."
    with pytest.raises(ValueError, match=message):
        write_upstream(make_case(), tmp_path / "x", layout=layout, run=run)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("arguments", [{"lr": math.inf}, {"lr": math.nan}, {"a": {1, 2}}, [1], 3])
def test_training_arguments_that_are_not_json_are_named(arguments: object, tmp_path: Path) -> None:
    case = replace(make_case(), provenance={"training_args": arguments})
    with pytest.raises(ValueError, match=r"Case 'random': expected training_args"):
        write(case, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_other_dtypes_and_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected a as one of \['bfloat16', .*got complex64"):
        write_state_dict({"a": np.zeros(1, np.complex64)}, "model")
    with pytest.raises(TypeError, match="Expected plain values to pickle, got set"):
        write_pickle({"a": [{1}]})


# The config's values


def test_config_of_unknown_origin_has_transformer_lens_defaults(tmp_path: Path) -> None:
    case = make_case(dtype=np.float64)
    fields = read_config(write(case, tmp_path) / "ll_model_cfg.pkl")
    assert fields["dtype"] == "torch.float64"
    assert fields["initializer_range"] == 0.8 / math.sqrt(10)
    # Two layers of 3 heads with 4 * 10 * 4 * 3 + 2 * 10 * 8 numbers each, TransformerLens's count.
    assert fields["n_params"] == 2 * (480 + 160)
    assert convert_config(fields, "x") == case.config


# torch


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_torch_reads_equal_tensors(dtype: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    given = np.float32 if dtype == "bfloat16" else np.dtype(dtype)
    case = make_case(dtype=given)
    if dtype == "bfloat16":
        weights = {k: a.astype(ml_dtypes.bfloat16) for k, a in case.weights.items()}
        case = replace(case, weights=weights)
    path = write(case, tmp_path) / "ll_model.pth"
    state = transformer_lens_state(case)
    for mapped in (False, True):
        read = torch.load(path, weights_only=True, mmap=mapped)
        assert list(read) == list(state)
        for name, array in state.items():
            assert str(read[name].dtype) == f"torch.{array.dtype.name}", name
            assert tuple(read[name].shape) == array.shape, name
            assert read[name].is_contiguous(), name
            assert read[name].double().numpy().tobytes() == array.astype(float).tobytes(), name


def test_files_that_change_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(make_case(), tmp_path / "11")
    read = convert.read_meta

    def read_and_replace(path: Path) -> dict[str, object]:
        found = read(path)
        path.write_text(path.read_text() + " ")
        return found

    monkeypatch.setattr(convert, "read_meta", read_and_replace)
    with pytest.raises(
        UpstreamFormatError, match=r"but .*meta.*\.json changed; convert them again"
    ):
        load_case(folder)
