"""`interpbench bench --shard` and `--join` from a user's point of view."""

import contextlib
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from interpbench_jax.bench.plan import BenchSettings
from interpbench_jax.bench.run import run_bench, run_shard
from interpbench_jax.bench.shard_record import read_record, write_record
from interpbench_jax.bench.shards import Shard
from interpbench_jax.bench.table import read_curves, read_results, read_scores, write_tables
from interpbench_jax.cli import bench as bench_command
from interpbench_jax.discovery import METHODS, Method
from interpbench_jax.storage import digest_file
from tests.bench.test_run import Nothing, broken, drawn
from tests.certificates.commands import run_command
from tests.tiny_models import make_model

# 35 and 37 have one shape, 36 has another.
OPTIONS = ("--cases", "35,36,37", "--methods", "eap,chance", "--n", "8")
TABLES = ("results", "scores", "curves")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A benchmark that was run at once, and what is printed of it as JSON."""
    folder = tmp_path_factory.mktemp("one")
    return folder, json_of("bench", *OPTIONS, "-o", str(folder), "--json")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """The same as three shards."""
    folder = tmp_path_factory.mktemp("shards")
    printed = [
        json_of("bench", *OPTIONS, "-o", str(folder), "--shard", f"{index}/3", "--json")
        for index in range(3)
    ]
    return folder, printed


@pytest.fixture
def folder(shards: tuple[Path, list[dict]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards[0], tmp_path / "shards"))


def json_of(*arguments: str, code: int = 0) -> dict:
    """Run a command and return the JSON that it prints; module fixtures have no capsys."""

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run_command(*arguments, code=code)
    return json.loads(printed.getvalue())


def without_times(value: object) -> object:
    """The same JSON without times and the folder."""
    if isinstance(value, dict):
        return {
            key: without_times(item)
            for key, item in value.items()
            if "seconds" not in key and key not in ("share", "folder")
        }
    return [without_times(each) for each in value] if isinstance(value, list) else value


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_joined_shards_are_what_one_call_writes(
    one: tuple[Path, dict],
    shards: tuple[Path, list[dict]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(bench_command, "load")  # Joining needs no model.
    joined = json_of("bench", "-o", str(folder), "--join", "--json")
    alone, printed = one
    for name in TABLES:
        tables = [pq.read_table(each / f"{name}.parquet") for each in (alone, folder)]
        if name == "results":
            tables = [table.drop_columns(["seconds"]) for table in tables]
        assert tables[0].num_rows and tables[0].equals(tables[1], check_metadata=True)
    assert without_times(joined) == without_times({**printed, "kept": 6})
    texts = [(each / "results.md").read_text(encoding="utf-8") for each in (alone, folder)]
    # The seconds are in the last column of the leaderboards.
    lines = [re.sub(r"[0-9.]+ \|$", "|", text, flags=re.MULTILINE) for text in texts]
    assert lines[0] == lines[1]
    assert files_in(alone / "plots") == files_in(folder / "plots") != {}
    assert [(each["shard"], each["runs"]) for each in shards[1]] == [
        (f"{index}/3", 2) for index in range(3)
    ]


@pytest.mark.slow
def test_joining_twice_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    run_command("bench", "-o", str(folder), "--join", "--no-plots", code=0)
    assert not (folder / "plots").exists()
    before, first = files_in(folder), capsys.readouterr()
    run_command("bench", "-o", str(folder), "--join", "--no-plots", code=0)
    second = capsys.readouterr()
    assert files_in(folder) == before
    for printed in (first, second):
        assert re.search(r"6 runs in \d+ s, 6 of them finished earlier; 0 failed\.", printed.out)
        assert "Methods: mean ROC-AUC of edges" in printed.out and printed.err == ""


@pytest.mark.slow
def test_a_shard_is_resumed_by_the_command_that_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    shutil.rmtree(folder / "shard-1-of-3")
    run_command("bench", "-o", str(folder), "--join", code=2)
    told = re.search(
        r"1/3 is missing\. Run shard 1/3 by `interpbench (.*)`\.", capsys.readouterr().err
    )
    assert told is not None
    run_command(*told[1].split(), code=0)
    printed = capsys.readouterr().out
    assert "Shard 1/3: 2 runs in " in printed and "Where the time went" in printed
    assert f"run `interpbench bench -o {folder} --join`" in printed
    assert "Methods: " not in printed  # A part of a benchmark has no leaderboard.
    run_command(*told[1].split(), code=0)
    assert "2 of them finished earlier" in capsys.readouterr().out
    run_command("bench", "-o", str(folder), "--join", "--no-plots", code=0)


@pytest.mark.slow
def test_what_fails_is_said_by_shard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setitem(METHODS, "broken", Method(broken, None))
    options = ("--cases", "36", "--methods", "chance,broken", "--n", "8", "-o", str(tmp_path))
    for index, code in enumerate((0, 1)):
        run_command("bench", *options, "--shard", f"{index}/2", code=code)
    assert "nothing adds up" in capsys.readouterr().out
    run_command("bench", "-o", str(tmp_path), "--join", "--no-plots", code=1)
    printed = capsys.readouterr()
    assert "Failed runs are in 1/2; run these shards again to retry them." in printed.err
    assert "case 36, broken (resample, seed 0)" in printed.out and "1 failed" in printed.out
    assert "nothing adds up" in (tmp_path / "results.md").read_text(encoding="utf-8")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Two shards of runs that take no time."""
    settings = BenchSettings({"edges": drawn("edge")}, n_inputs=4)
    for index in range(2):
        run_shard([make_model("35"), make_model("37")], settings, tmp_path, Shard(index, 2))
    yield tmp_path


@pytest.mark.slow
def test_rows_of_earlier_calls_are_kept(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # An earlier benchmark in the folder had one of the runs, and another one.
    settings = BenchSettings({"edges": drawn("edge"), "other": drawn("edge")}, n_inputs=4)
    earlier = run_bench([make_model("35")], settings, small / "earlier")
    old = [dataclasses.replace(row, seconds=1e6) for row in earlier.results]
    write_tables(small, old, earlier.scores, earlier.curves)
    joined = []
    for _ in range(2):
        run_command("bench", "-o", str(small), "--join", "--no-plots", code=0)
        assert "The rows of 1 run from earlier calls are kept." in capsys.readouterr().err
        joined.append(files_in(small))
    assert joined[0] == joined[1]
    runs = {(row.case, row.method, row.seconds == 1e6) for row in read_results(small)}
    assert runs == {("35", "edges", False), ("37", "edges", False), ("35", "other", True)}
    for rows in (read_scores(small), read_curves(small)):
        assert {(row.case, row.method) for row in rows} == {run[:2] for run in runs}


def test_several_kinds_of_device_are_told(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = small / Shard(1, 2).folder_name
    rows = [dataclasses.replace(row, device="H100") for row in read_results(own)]
    paths = (*write_tables(own, rows, read_scores(own), read_curves(own)), own / "curves.parquet")
    tables = {path.name: digest_file(path) for path in paths}
    write_record(own, dataclasses.replace(read_record(own), tables=tables))
    run_command("bench", "-o", str(small), "--join", "--no-plots", code=0)
    assert "several kinds of device (H100, cpu), so that times" in capsys.readouterr().err


def test_nothing_but_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = BenchSettings({"broken": Method(broken, Nothing())}, n_inputs=4)
    run_shard([make_model("35")], settings, tmp_path, Shard(0, 1))
    run_command("bench", "-o", str(tmp_path), "--join", "--json", code=1)
    found = json.loads(capsys.readouterr().out)
    assert [each["message"] for each in found["failures"]] == ["ArithmeticError: nothing adds up"]
    assert found["leaderboard"] == [] and [path.name for path in tmp_path.iterdir()] == [
        "shard-0-of-1"
    ]
