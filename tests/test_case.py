"""Cases as values, and the folders that they are kept in."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_jax.case import (
    CIRCUIT_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    Case,
    is_case_directory,
    read_case,
)
from interpbench_jax.circuit import Circuit
from interpbench_jax.sites import parse_edge
from tests.fixtures import random_weights, tiny_config

CONFIG = tiny_config()
VOCAB = ("BOS", "PAD", "a", "b", "c", "d", "é")
CIRCUIT = Circuit(2, 3, (parse_edge("hook_embed -> blocks.1.hook_mlp_in"),))


def make_case(
    *,
    dtype: np.typing.DTypeLike = np.float32,
    circuit: Circuit | None = CIRCUIT,
    vocab: tuple[str, ...] | None = VOCAB,
    task_description: str = "Counts.",
    provenance: dict[str, object] | None = None,
) -> Case:
    weights = random_weights(CONFIG, dtype)
    return Case("11", CONFIG, weights, circuit, vocab, task_description, provenance or {})


def assert_same(actual: Case, expected: Case) -> None:
    assert actual == expected
    assert set(actual.weights) == set(expected.weights)
    for name, array in expected.weights.items():
        assert actual.weights[name].dtype == array.dtype, name
        assert actual.weights[name].tobytes() == array.tobytes(), name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds a whole case."""
    return make_case().save(tmp_path / "11")


def change_config(folder: Path, **changes: object) -> None:
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))


# Values


def test_a_case_keeps_its_own_weights() -> None:
    weights = random_weights(CONFIG)
    case = Case("11", CONFIG, weights, None)
    del weights["embed.W_E"]
    assert "embed.W_E" in case.weights
    with pytest.raises(TypeError):
        case.weights["embed.W_E"] = np.zeros(1)  # pyright: ignore[reportIndexIssue]


def test_defaults() -> None:
    case = Case("11", CONFIG, random_weights(CONFIG), None)
    assert case.vocab is None and case.task_description == "" and dict(case.provenance) == {}


def test_weights_that_do_not_fit_are_refused() -> None:
    weights = random_weights(tiny_config(d_mlp=9))
    with pytest.raises(ValueError, match=r"Case '11': Expected blocks\.0\.mlp\.W_in of shape"):
        Case("11", CONFIG, weights, None)


@pytest.mark.parametrize("shape", [(2, 4), (1, 3), (3, 3)])
def test_another_models_circuit_is_refused(shape: tuple[int, int]) -> None:
    message = f"Case '11': expected a circuit of 2 layers of 3 heads, got {shape[0]} of {shape[1]}"
    with pytest.raises(ValueError, match=message):
        make_case(circuit=Circuit(*shape, ()))


@pytest.mark.parametrize("vocab", [(), VOCAB[1:], (*VOCAB, "e")])
def test_another_vocabulary_is_refused(vocab: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"Case '11': expected 7 tokens, got {len(vocab)}"):
        make_case(vocab=vocab)


def test_a_token_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        make_case(vocab=("BOS", "PAD", "a", "b", "c", "d", "a"))


def test_the_model_has_the_stored_weights() -> None:
    case = make_case()
    assert case.model is case.model
    assert case.model.config == CONFIG
    np.testing.assert_array_equal(case.model.embed.W_E[...], case.weights["embed.W_E"])


# Folders


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_save_and_read_round_trip(tmp_path: Path, dtype: np.typing.DTypeLike) -> None:
    case = make_case(dtype=dtype, provenance={"repo": "a/b", "sha256": {"x": "0"}, "n": [1, None]})
    assert_same(read_case(case.save(tmp_path / "new" / "11")), case)


def test_what_is_not_known_stays_unknown(tmp_path: Path) -> None:
    case = make_case(circuit=None, vocab=None, task_description="")
    again = read_case(case.save(tmp_path))
    assert_same(again, case)
    assert again.circuit is None and again.vocab is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.slow
@given(words, st.lists(words, min_size=7, max_size=7, unique=True), st.dictionaries(words, words))
def test_any_words_round_trip(
    description: str, vocab: list[str], provenance: dict[str, object]
) -> None:
    case = make_case(vocab=tuple(vocab), task_description=description, provenance=provenance)
    with TemporaryDirectory() as directory:
        assert_same(read_case(case.save(directory)), case)


def test_a_folder_is_a_path_or_its_name(folder: Path) -> None:
    assert_same(read_case(str(folder)), read_case(folder))
    assert is_case_directory(folder) and not is_case_directory(folder.parent)


def test_saving_depends_only_on_the_case(tmp_path: Path) -> None:
    first, second = (make_case().save(tmp_path / name) for name in "ab")
    for name in (WEIGHTS_FILE, CONFIG_FILE, CIRCUIT_FILE):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_saving_over_a_case_leaves_nothing_of_it(folder: Path) -> None:
    case = make_case(dtype=np.float64, circuit=None, task_description="another")
    assert_same(read_case(case.save(folder)), case)
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


@pytest.mark.parametrize("files_before", [0, 1, 2])
@pytest.mark.parametrize("exists", [False, True], ids=["new", "over another"])
def test_an_interrupted_save_leaves_no_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_before: int, exists: bool
) -> None:
    if exists:
        make_case().save(tmp_path)
    replace, left = os.replace, [None] * files_before

    def fail(source: str, target: Path) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        weights = random_weights(CONFIG, seed=9)
        dataclasses.replace(make_case(), weights=weights).save(tmp_path)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    if not exists:
        with pytest.raises(FileNotFoundError, match=r"Expected a case with config\.json in"):
            read_case(tmp_path)
    elif files_before == 0:
        assert_same(read_case(tmp_path), make_case())
    else:
        with pytest.raises(ValueError, match="a save was cut off between two files"):
            read_case(tmp_path)


def test_what_cannot_be_written_leaves_the_old_case(folder: Path) -> None:
    before = read_case(folder)
    with pytest.raises((TypeError, ValueError)):
        make_case(provenance={"path": Path("x")}).save(folder)
    assert_same(read_case(folder), before)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "11").touch()
    with pytest.raises(OSError, match="Expected a folder to write into, got"):
        make_case().save(tmp_path / "11")


# Broken folders


def test_a_folder_without_a_config_is_no_case(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected a case with config\.json in"):
        read_case(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Expected a case with config\.json in"):
        read_case(tmp_path / "none")


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"Expected weights at .*model\.safetensors"):
        read_case(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "interpbench-circuit"}, '"format": "interpbench-case"'),
        ({"version": 2}, "comes from a newer release"),
        ({"url": "x"}, r"Expected the keys .* got .*'url'"),
        ({"case_id": 11}, "Expected case_id to be of a type other than int"),
        ({"task_description": None}, "task_description to be of a type other than NoneType"),
        ({"vocab": "abcdefg"}, "Expected vocab to be of a type other than str"),
        ({"vocab": list("abcdefa")}, "Expected vocab to be a list of distinct strings"),
        ({"vocab": [1, 2, 3, 4, 5, 6, 7]}, "Expected vocab to be a list of distinct strings"),
        ({"transformer": []}, "Expected transformer to be of a type other than list"),
        ({"transformer": {}}, '"format": "interpbench-transformer"'),
        ({"provenance": []}, "Expected provenance to be of a type other than list"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_config_is_named(folder: Path, changes: dict[str, object], message: str) -> None:
    change_config(folder, **changes)
    with pytest.raises(ValueError, match=rf"config\.json: .*{message}"):
        read_case(folder)


def test_a_missing_key_is_named(folder: Path) -> None:
    path = folder / CONFIG_FILE
    described = json.loads(path.read_text(encoding="utf-8"))
    del described["vocab"]
    path.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"config\.json: Expected the keys .*'vocab'"):
        read_case(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]"])
@pytest.mark.parametrize("name", [CONFIG_FILE, CIRCUIT_FILE])
def test_a_file_that_is_no_json_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        read_case(folder)


def test_a_circuit_of_another_model_is_refused(folder: Path) -> None:
    (folder / CIRCUIT_FILE).write_text(Circuit(2, 4, ()).to_json())
    with pytest.raises(ValueError, match="expected a circuit of 2 layers of 3 heads, got 2 of 4"):
        read_case(folder)


def test_a_vocabulary_of_another_model_is_refused(folder: Path) -> None:
    change_config(folder, vocab=["a"])
    with pytest.raises(ValueError, match="expected 7 tokens, got 1"):
        read_case(folder)


def _change_shape(folder: Path) -> None:
    transformer = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["transformer"]
    change_config(folder, transformer=transformer | {"d_head": 5})


def _cut_short(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [_change_shape, _cut_short])
def test_weights_that_do_not_fit_are_named(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        read_case(folder)
