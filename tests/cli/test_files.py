"""Where commands write, what they refuse to overwrite, and custom methods."""

import json
import sys
from pathlib import Path

import pytest

from interpbench_jax import load_case
from interpbench_jax.bench.own_methods import digest_code, find_method
from interpbench_jax.bench.table import read_results, write_tables
from interpbench_jax.cli import main
from interpbench_jax.discovery import METHODS
from tests.bench.fake_results import fake_bench

OWN = """
import numpy as np
from interpbench_jax.discovery import Method, Scores

def lengths(model, data, metric, settings, key):
    edges = data.edges(model.config).edges
    return Scores("edge", data.universe, np.asarray([len(str(edge)) for edge in edges], float))

SAME = Method(lengths, None)
NUMBER = 3
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object, code: int) -> None:
    monkeypatch.setattr("sys.argv", ["interpbench", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "my_methods_of_a_test.py"
    path.write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_methods_of_a_test", raising=False)
    return path


@pytest.mark.slow
def test_a_method_of_ones_own_is_benchmarked(
    own_module: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{own_module.stem}:lengths"
    options = ("--method", f"{name},exact", "--cases", "36", "--n", 8, "--no-plots", "-o", "out")
    run(monkeypatch, "bench", *options, code=0)
    rows = read_results("out")
    assert {row.method for row in rows} == {name, "exact"}
    (row,) = [r for r in rows if (r.method, r.universe, r.level) == (name, "qkv", "edge")]
    assert row.roc_auc is not None
    code = json.loads(row.settings)["code_sha256"]
    assert code == digest_code(find_method(name)) and digest_code(METHODS["exact"]) is None
    assert name in capsys.readouterr().out


def test_what_is_no_method_is_refused(own_module: Path) -> None:
    stem = own_module.stem
    assert find_method(f"{stem}:SAME").run is find_method(f"{stem}:lengths").run
    for name, message in (
        (
            "magic",
            "Expected the method to be one of chance, .* package.module:function; got 'magic'",
        ),
        (f"{stem}:nothing", "Expected 'nothing' of .* to be a function"),
        (f"{stem}:NUMBER", "Expected 'NUMBER' of .* got 3"),
        ("no_such_module_here:run", "Expected a module that can be imported .* No module named"),
        (":run", "Expected a module that can be imported"),
    ):
        with pytest.raises(ValueError, match=message):
            find_method(name)


def test_convert_does_not_write_over_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    run(monkeypatch, "convert", "11", file, code=2)
    assert f"Expected a folder to write into, got {file}" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == "mine"
    run(monkeypatch, "convert", "3", tmp_path / "model", code=0)
    run(monkeypatch, "convert", "3", tmp_path / "model", code=0)
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    capsys.readouterr()
    run(monkeypatch, "convert", "11", tmp_path / "model", code=2)
    assert "holds other weights; name another folder" in capsys.readouterr().err
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    run(monkeypatch, "convert", "11", tmp_path / "model", "--overwrite", code=0)
    assert load_case(tmp_path / "model").case_id == "11"


def test_output_onto_the_wrong_kind_of_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = fake_bench()
    write_tables(tmp_path / "bench", fake.results, fake.scores)
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    submit = ("submit", tmp_path / "bench", "--method", "noisy", "--author", "A")
    for arguments, message in (
        (("bench", "--cases", "36", "-o", file), "Expected a folder to write into"),
        (("leaderboard", tmp_path / "bench", "-o", tmp_path), "Expected a file to write, got the"),
        ((*submit, "-o", tmp_path), "Expected a file to write, got the folder"),
        ((*submit, "-o", file / "x.json"), "Expected a folder to write into"),
    ):
        run(monkeypatch, *arguments, code=2)
        assert message in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
def test_submit_names_the_cases_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = fake_bench()  # It has three cases.
    write_tables(tmp_path / "bench", fake.results, fake.scores)
    target = tmp_path / "new" / "folder" / "x.json"
    submit = ("submit", tmp_path / "bench", "--method", "noisy", "--author", "A", "-o", target)
    run(monkeypatch, *submit, code=2)
    message = " ".join(capsys.readouterr().err.split())
    assert "edge scores of all 16 cases" in message and "missing: 4, 8, 13" in message
    assert not target.exists()


@pytest.mark.slow
def test_validate_tells_invalid_from_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.json"
    for text, code, message in (
        ("{}", 1, "not valid: "),
        ('{"format": 3}', 1, "problems."),
        ("{", 2, "Expected a submission as JSON"),
        ("\x00", 2, "Expected a submission as JSON"),
    ):
        file.write_text(text, encoding="utf-8")
        run(monkeypatch, "validate", file, code=code)
        captured = capsys.readouterr()
        assert message in captured.out + captured.err
    run(monkeypatch, "validate", tmp_path / "none.json", code=2)
    run(monkeypatch, "validate", tmp_path, code=2)
