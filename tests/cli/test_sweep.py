"""The command `sweep`; the numbers themselves are tested in tests/sweeps."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import interpbench_jax as ib
from interpbench_jax.ablations import ABLATION_NAMES
from interpbench_jax.cli.sweeps import AblationChoice
from tests.certificates.commands import run_command

# Two models of one shape, so that the tests share compiled programs.
CASE, OTHER = "36", "35"
N = ("--n", "8")


@pytest.fixture(autouse=True)
def plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("NO_COLOR", "1")


class Output:
    """The output of a command."""

    def __init__(self, captured: pytest.CaptureFixture[str]):
        self.captured = captured

    def text(self, *arguments: str) -> str:
        """Run a command that must succeed without warnings; return its standard output."""
        run_command("sweep", *arguments, code=0)
        captured = self.captured.readouterr()
        assert captured.err == ""
        return captured.out

    def json(self, *arguments: str) -> dict:
        return json.loads(self.text(*arguments, "--json"))


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Output:
    return Output(capsys)


def swept(case_id: str, n: int = 8, **options: object) -> np.ndarray:
    """Return the effects of an edge sweep, computed by the library."""
    case = ib.load_case(case_id)
    return ib.sweep_edges(case.model, case.sample(n, 0), **options).effects  # pyright: ignore


def effects(values: dict) -> list[float]:
    return [row["effect"] for row in values["effects"]]


@pytest.mark.slow
def test_one_case(output: Output) -> None:
    text = output.text(CASE, *N, "--top", "2")
    assert "Case 36: 137 edges (qkv), resample ablation, effect as kl" in text
    assert "135 smaller effects not shown" in text and "position" not in text
    assert "Effects against the known circuit" in text
    assert "137 edits x 8 inputs in " in text and "patched runs per second" in text
    values = output.json(CASE, *N)
    assert [*values] == [
        "case_id",
        "inputs",
        "seconds",
        "universe",
        "ablation",
        "metric",
        "n_inputs",
        "noise_floor",
        "effects",
        "auc",
        "notes",
    ]
    assert [*values["effects"][0]] == ["name", "effect", "truth"]
    np.testing.assert_array_equal(effects(values), swept(CASE))


def test_several_ablations_of_one_case(output: Output) -> None:
    both = (CASE, *N, "--ablation", "mean", "--ablation", "zero")
    text = output.text(*both, "--top", "1")
    for ablation in ("mean", "zero"):
        assert f"Case 36: 137 edges (qkv), {ablation} ablation" in text
    assert text.count("ROC-AUC") == 2 and "274 edits x 8 inputs" in text
    values = output.json(*both)
    assert [*values] == ["seconds", "patched_runs", "sweeps"]
    assert values["patched_runs"] == 2 * 137 * 8
    assert [each["ablation"] for each in values["sweeps"]] == ["mean", "zero"]
    expected = swept(CASE, ablation=("mean", "zero"))
    for each, own in zip(values["sweeps"], expected, strict=True):
        assert each["case_id"] == CASE and "8 pairs" in each["inputs"]
        np.testing.assert_array_equal(effects(each), own)


def test_several_cases(output: Output) -> None:
    text = output.text(CASE, OTHER, CASE, *N)
    assert "2 cases, edges (qkv)" in text and "position" not in text
    header, *rows = text.splitlines()[1:4]
    assert header.split()[:4] == ["case", "ablation", "metric", "largest"]
    assert header.split()[4:] == ["qkv", "qkv-merged", "head", "head-no-embed"]
    assert [row.split()[:3] for row in rows] == [
        ["36", "resample", "kl"],
        ["35", "resample", "kl"],
    ]
    assert f"{2 * 137 * 8:,} patched runs in " in text
    values = output.json(CASE, OTHER, *N)
    assert [each["case_id"] for each in values["sweeps"]] == [CASE, OTHER]
    for each, row in zip(values["sweeps"], rows, strict=True):
        own = swept(each["case_id"])
        # Models that share a program are padded to one vocabulary, which changes summation order.
        np.testing.assert_allclose(effects(each), own, rtol=1e-4, atol=1e-5)
        assert row.split()[3] == f"{own.max():.3g}"
        assert row.split()[6] == f"{each['auc']['head']:.4f}"


@pytest.mark.slow
def test_nodes_of_several_cases(output: Output) -> None:
    values = output.json(CASE, OTHER, "--nodes", "--universe", "head", *N)
    case = ib.load_case(OTHER)
    result = ib.sweep_nodes(case.model, case.sample(8, 0), universe="head")
    found = values["sweeps"][1]
    assert [row["name"] for row in found["effects"]] == [str(name) for name in result.names]
    np.testing.assert_array_equal(effects(found), result.effects)
    assert "2 cases, nodes (head)" in output.text(CASE, OTHER, "--nodes", "--universe", "head", *N)


def test_each_position(output: Output) -> None:
    options = (CASE, *N, "--positions", "0,3,4")
    text = output.text(*options, "--top", "3")
    assert "137 edges (qkv) at 3 positions" in text
    assert "Largest effects over positions" in text
    assert "408 smaller effects not shown" in text
    lines = text.splitlines()
    assert lines[1].split() == ["from", "to", "position", "effect", "circuit"]
    values = output.json(*options)
    expected = swept(CASE, positions=(0, 3, 4))
    np.testing.assert_array_equal(effects(values), expected.reshape(-1))
    assert [row["position"] for row in values["effects"]] == [0, 3, 4] * 137
    best = max(values["effects"], key=lambda row: row["effect"])
    assert lines[2].split()[:3] == [*best["name"].split(" -> "), str(best["position"])]
    case = ib.load_case(CASE)
    assert case.circuit is not None
    areas = ib.edge_auc_by_universe(expected.max(axis=1), case.circuit, "qkv")
    assert values["auc"] == areas


@pytest.mark.slow
def test_every_position_of_several_cases(output: Output) -> None:
    text = output.text(CASE, OTHER, *N, "--positions", "each")
    assert "each at its position of largest effect" in " ".join(text.split())
    n_positions = ib.load_case(CASE).config.n_ctx
    assert f"{2 * 137 * n_positions * 8:,} patched runs" in text


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    run_command("sweep", CASE, *N, "--explain", "--json", code=0)
    captured = capsys.readouterr()
    assert "137 edits x 8 inputs in " in captured.err
    assert json.loads(captured.out)["case_id"] == CASE
    run_command("sweep", CASE, OTHER, *N, "--explain", code=0)
    explained = capsys.readouterr().err
    assert "Case 36. On " in explained and "Case 35. On " in explained


def test_saved_and_resumed(output: Output, tmp_path: Path) -> None:
    options = (CASE, *N, "--save-to", str(tmp_path / "sweep"), "--top", "1")
    assert "resumed" not in output.text(*options)
    assert (tmp_path / "sweep" / "effects.parquet").is_file()
    calls = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["n_tasks"]
    assert f"resumed: {calls} of {calls} calls were already done" in output.text(*options)
    np.testing.assert_array_equal(effects(output.json(*options)), swept(CASE))


def test_a_stopped_sweep_goes_on(
    output: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interpbench_jax.storage.store import SweepStore

    folder = tmp_path / "sweep"
    options = (CASE, *N, "--save-to", str(folder))
    added = SweepStore.add

    def add_then_stop(store: SweepStore, task: int, sums: np.ndarray) -> None:
        added(store, task, sums)
        store.flush()
        raise OSError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(SweepStore, "add", add_then_stop)
        run_command("sweep", *options, code=2)
    output.captured.readouterr()
    calls = json.loads((folder / "sweep.json").read_text())["n_tasks"]
    found = re.search(r"resumed: (\d+) of (\d+) calls were already done", output.text(*options))
    assert found is not None
    assert 0 < int(found[1]) <= int(found[2]) == calls


@pytest.mark.slow
def test_devices(output: Output) -> None:
    text = output.text(CASE, *N, "--devices", "1", "--top", "0")
    assert "not shown" not in text and len(text.splitlines()) > 137


def test_every_packaged_case(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interpbench_jax.loading.packaged_cases", lambda: (CASE, OTHER, "ioi"))
    values = output.json("all", *N)
    assert [each["case_id"] for each in values["sweeps"]] == [CASE, OTHER]


def test_a_folder_among_cases_and_no_circuit(output: Output, tmp_path: Path) -> None:
    folder = ib.load_case(CASE).save(tmp_path / CASE)
    (folder / "circuit.json").unlink()
    text = output.text(str(folder), OTHER, *N)
    assert text.splitlines()[2].split()[4:] == ["-"] * 4
    assert "nothing to compare with" in output.text(str(folder), *N, "--top", "1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument"),
        (("all", CASE), "Expected cases or 'all', got both."),
        ((CASE, "99"), "Expected a case whose weights interpbench-jax includes"),
        ((CASE, OTHER, "--save-to", "x"), "Expected one case with --save-to, got 2."),
        ((CASE, "--positions", "some"), "numbers such as 0,3,4; got 'some'"),
        ((CASE, "--positions", "1,"), "numbers such as 0,3,4; got '1,'"),
        ((CASE, "--positions", "99"), "Expected positions from 0 to 9"),
        ((CASE, "--ablation", "none"), "'none' is not one of 'resample', 'mean', 'zero'"),
        ((CASE, "--ablation", "mean", "--ablation", "mean"), "several different ones"),
        ((CASE, "--devices", str(jax.device_count() + 1)), "the number that JAX finds"),
        ((CASE, "--devices", "0"), "Invalid value for '--devices'"),
        ((CASE, *N, "--save-to", __file__), "Expected a folder for the sweep"),
    ],
)
def test_wrong_input(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command("sweep", *arguments, code=2)
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.split())
    assert captured.out == ""


def test_nothing_is_packaged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interpbench_jax.loading.packaged_cases", lambda: ())
    run_command("sweep", "all", code=2)
    assert "this installation has none" in " ".join(capsys.readouterr().err.split())


def test_every_ablation_can_be_chosen() -> None:
    assert tuple(choice.value for choice in AblationChoice) == ABLATION_NAMES
