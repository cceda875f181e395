"""`interpbench report`, and `interpbench leaderboard` into a page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from interpbench_jax.bench.plan import digest_circuit
from interpbench_jax.bench.submission import CaseTruth
from interpbench_jax.bench.table import CURVES_FILE, RESULTS_FILE, SCORES_FILE, write_tables
from interpbench_jax.cli import compare
from interpbench_jax.cli.report import case_texts
from interpbench_jax.loading import load_case
from tests.bench.fake_results import submission, truths
from tests.certificates.commands import run_command
from tests.report.made_up_bench import MadeUpBench, made_up_bench


@pytest.fixture(scope="module")
def made() -> MadeUpBench:
    return made_up_bench()


@pytest.fixture
def folder(made: MadeUpBench, tmp_path: Path) -> Path:
    write_tables(tmp_path / "bench", made.results, made.scores, made.curves)
    return tmp_path / "bench"


def data_of(page: Path) -> dict[str, object]:
    block = page.read_text(encoding="utf-8").partition('type="application/json" id="data">')[2]
    return json.loads(block.partition("</script>")[0])


@pytest.mark.slow
def test_a_page(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    run_command("report", str(folder), "-o", str(page), code=0)
    assert capsys.readouterr().out == f"{page}: 3 methods on 3 cases, 0.1 MB.\n"
    first = page.read_bytes()
    data = data_of(page)
    assert data["hasScores"] and data["hasCurves"]
    run_command("report", str(folder / RESULTS_FILE), "-o", str(page), "--json", code=0)
    told = {"file": str(page), "bytes": len(first), "cases": 3, "methods": 3}
    assert json.loads(capsys.readouterr().out) == told
    assert page.read_bytes() == first


def test_a_page_tells_tiers_and_distinct_circuits(made: MadeUpBench, tmp_path: Path) -> None:
    # Cases 26 and 29 compute other functions by the same circuit.
    cases = dict(zip(sorted({row.case for row in made.results}), ("4", "26", "29"), strict=True))
    rows = [replace(row, case=cases[row.case]) for row in made.results]
    write_tables(tmp_path / "bench", rows, (), ())
    run_command("report", str(tmp_path / "bench"), "-o", str(tmp_path / "page.html"), code=0)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert ">By tier: mean ROC-AUC in head-no-embed</h2>" in page
    assert ">By distinct circuit: mean ROC-AUC in head-no-embed</h2>" in page
    assert '<th scope="col" class="number">every circuit (2)</th>' in page


def test_a_folder_of_an_earlier_release(folder: Path, tmp_path: Path) -> None:
    (folder / CURVES_FILE).unlink()
    run_command("report", str(folder), "-o", str(tmp_path / "page.html"), code=0)
    assert data_of(tmp_path / "page.html")["hasCurves"] is False
    (folder / SCORES_FILE).unlink()
    run_command("report", str(folder), "-o", str(tmp_path / "page.html"), code=0)
    assert data_of(tmp_path / "page.html")["hasScores"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{tmp}", "-o", "{tmp}/p.html"), "Expected results.parquet of a benchmark at"),
        (("{bench}", "-o", "{tmp}/p.pdf"), "whose name ends in .html, got 'p.pdf'"),
        (("{bench}",), "Missing option '-o'"),
        (("{bench}", "-o", "{tmp}/folder.html"), "Expected a file to write, got the folder"),
        (("{bad}", "-o", "{tmp}/p.html"), "results.parquet: Expected a Parquet file"),
    ],
)
def test_errors(
    arguments: tuple[str, ...],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / RESULTS_FILE).write_bytes(b"PAR1")
    places = {"tmp": tmp_path, "bench": folder, "bad": tmp_path / "bad"}
    run_command("report", *(each.format(**places) for each in arguments), code=2)
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message in shown
    assert not (tmp_path / "p.html").exists()


def test_damaged_curves_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / CURVES_FILE).write_bytes(b"nothing")
    run_command("report", str(folder), "-o", str(tmp_path / "page.html"), code=2)
    assert "curves.parquet: Expected a Parquet file" in capsys.readouterr().err


def test_a_task_is_described_if_its_circuit_is_the_declared_one(made: MadeUpBench) -> None:
    (row,) = (
        each
        for each in made.results
        if (each.case, each.method, each.level, each.universe) == ("11", "exact", "edge", "head")
    )
    assert case_texts([row]) == {}
    own = replace(row, circuit_digest=digest_circuit(load_case("11").truth()))
    assert set(case_texts([own])) == {"11"} and case_texts([own])["11"].program
    assert set(case_texts([replace(row, circuit_digest="")])) == {"11"}
    assert case_texts([replace(own, case="words")]) == {}
    assert case_texts([replace(own, truth="<b>")]) == {}


@pytest.mark.slow
def test_a_leaderboard_as_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def few(*_: object) -> dict[str, CaseTruth]:
        return truths()

    monkeypatch.setattr(compare, "_truths", few)
    folder = tmp_path / "submissions"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(submission("qkv", method="<b>fine</b>")))
    (folder / "b.json").write_text(json.dumps(submission("head", method="coarse")))
    (folder / "c.json").write_text("{}")
    page = tmp_path / "board.html"
    run_command("leaderboard", str(folder), "-o", str(page), code=1)
    assert "coarse" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert "InterpBench leaderboard" in text and "<b>" not in text
    assert "&lt;b&gt;fine&lt;/b&gt;" in text and "<td>c.json</td>" in text
    data = data_of(page)
    assert data["reference"] is None and data["hasScores"]
    columns, cases = data["columns"], data["cases"]
    assert isinstance(columns, list) and isinstance(cases, list)
    assert not {"cpr", "cmd", "seconds"} & {column["key"] for column in columns}
    # Only scores of the finest universe can be drawn.
    assert [len(case["drawing"]["runs"]) for case in cases] == [1, 1, 1]
    run_command("leaderboard", str(folder), "-o", str(tmp_path / "board.md"), code=1)
    assert (tmp_path / "board.md").read_text(encoding="utf-8").startswith("# Leaderboard")
