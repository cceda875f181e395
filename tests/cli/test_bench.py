"""`interpbench bench` from a user's point of view."""

import json
import subprocess
from functools import partial
from pathlib import Path

import pytest

from interpbench_jax.bench.table import read_results, read_scores
from interpbench_jax.discovery import METHODS, Method, Scores
from interpbench_jax.report import plots
from tests import commands
from tests.certificates.commands import run_command

run = partial(commands.run, "bench", COLUMNS="150")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "out"


@pytest.fixture(scope="module")
def first(folder: Path) -> subprocess.CompletedProcess[str]:
    arguments = ("--cases", "36", "--methods", "chance,clean-corrupted", "--n", 8)
    return run(*arguments, "--seeds", "0,1", "-o", folder)


@pytest.mark.slow
def test_a_benchmark(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    assert first.returncode == 0, first.stderr
    assert "Methods: mean ROC-AUC of edges" in first.stdout
    assert "Where the time went" in first.stdout
    assert "4 runs in" in first.stdout and "0 failed" in first.stdout
    results = read_results(folder)
    assert {(row.case, row.method, row.seed) for row in results} == {
        ("36", method, seed) for method in ("chance", "clean-corrupted") for seed in (0, 1)
    }
    assert {row.level for row in read_scores(folder)} == {"edge", "node"}
    assert "## By case" in (folder / "results.md").read_text(encoding="utf-8")
    assert (folder / "plots" / "heat-map-head.png").is_file()


@pytest.mark.slow
def test_called_again_it_goes_on(folder: Path, first: subprocess.CompletedProcess[str]) -> None:
    before = (folder / "results.parquet").read_bytes()
    again = run(
        *("--cases", "36", "--methods", "chance,clean-corrupted", "--n", "8", "--seeds", "0,1"),
        *("--no-plots", "--json", "-o", folder),
    )
    assert again.returncode == 0, again.stderr
    found = json.loads(again.stdout)
    assert found["runs"] == found["kept"] == 4 and found["failures"] == []
    assert {entry["method"] for entry in found["leaderboard"]} == {"chance", "clean-corrupted"}
    assert sum(each["share"] for each in found["times"]) == pytest.approx(1)
    assert (folder / "results.parquet").read_bytes() == before


def broken(*_: object) -> Scores:
    raise ArithmeticError("nothing adds up")


@pytest.mark.slow
def test_what_fails_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setitem(METHODS, "broken", Method(broken, None))
    options = ("--cases", "36", "--methods", "broken,chance", "--n", "8", "--no-plots")
    run_command("bench", *options, "-o", str(tmp_path), code=1)
    printed = capsys.readouterr().out
    assert "case 36, broken (resample, seed 0)" in printed and "1 failed" in printed
    assert "nothing adds up" in (tmp_path / "results.md").read_text(encoding="utf-8")
    assert {row.method for row in read_results(tmp_path)} == {"chance"}


def test_nothing_but_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(METHODS, "broken", Method(broken, None))
    options = ("--cases", "36", "--methods", "broken", "--n", "8", "--json")
    run_command("bench", *options, "-o", str(tmp_path), code=1)
    found = json.loads(capsys.readouterr().out)
    assert found["failures"] == [
        {
            "run": "case 36, broken (resample, seed 0)",
            "message": "ArithmeticError: nothing adds up",
        }
    ]
    assert found["leaderboard"] == [] and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_ablations_have_plots_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Path, str]] = []

    def draw(_: object, scores: object, folder: Path, *, ablation: str) -> None:
        drawn.append((folder, ablation))

    monkeypatch.setattr(plots, "write_plots", draw)
    options = ("--cases", "36", "--methods", "chance", "--n", "8", "--ablations", "zero,mean")
    run_command("bench", *options, "-o", str(tmp_path), code=0)
    assert {row.ablation for row in read_results(tmp_path)} == {"zero", "mean"}
    assert drawn == [(tmp_path / "plots" / name, name) for name in ("zero", "mean")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--methods", "magic"), "Expected the method to be one of"),
        (("--seeds", "one"), "Expected --seeds to be comma-separated numbers"),
        (("--ablations", "nothing"), "Expected each ablation to be one of"),
        (("--cases", ","), "Expected --cases to be comma-separated names"),
        (("--shard", "3/3"), "Expected a shard i/n with i from 0 to n - 1"),
        (("--shard", "third"), "Expected a shard as i/n, such as 0/3, 1/3 and 2/3; got 'third'."),
        (("--join",), "Expected shards of a benchmark in"),
        (
            ("--join", "--cases", "3", "--shard", "0/3", "--method", "eap"),
            "Expected --join with no options but -o, --plots and --json, got --cases 3, --methods "
            "eap, --shard 0/3; leave them out",
        ),
        (
            ("--join", "--orders", "8"),
            "got --orders 8; leave them out",
        ),  # even if it is the default
        (("--join", "--no-cache"), "got --no-cache; leave them out"),
    ],
)
def test_wrong_arguments(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    unchecked: None,
) -> None:
    run_command("bench", *arguments, "-o", str(tmp_path / "out"), code=2)
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
