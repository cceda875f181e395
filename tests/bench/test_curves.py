"""Faithfulness curves beside a benchmark's results: optional, checked, and kept."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from interpbench_jax.bench.export import export_submission
from interpbench_jax.bench.leaderboard import read_board
from interpbench_jax.bench.outcome import BenchOutcome
from interpbench_jax.bench.parts import PARTS_FOLDER
from interpbench_jax.bench.plan import BenchSettings, choose_methods
from interpbench_jax.bench.run import run_bench
from interpbench_jax.bench.table import (
    CURVES_FILE,
    RESULTS_FILE,
    column_types,
    read_curves,
    read_results,
    write_tables,
)
from interpbench_jax.report.rows import CurveRow
from interpbench_jax.scores.faithfulness import MIB_FRACTIONS, faithfulness_areas
from tests.bench.fake_results import fake_bench, result_row, truths
from tests.tiny_models import make_model


def curve_row(**changes: object) -> CurveRow:
    row = CurveRow(
        case="11",
        method="exact",
        ablation="resample",
        seed=0,
        absolute=True,
        fraction=0.5,
        n_edges=7,
        faithfulness=0.25,
    )
    return dataclasses.replace(row, **changes)  # pyright: ignore[reportArgumentType]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    rows = [curve_row(fraction=1.0), curve_row(), curve_row(absolute=False, faithfulness=-3.5)]
    write_tables(tmp_path, [result_row()], [], rows)
    assert read_curves(tmp_path) == sorted(rows, key=lambda row: row.key)
    assert read_curves(tmp_path / CURVES_FILE) == read_curves(tmp_path)
    assert read_results(tmp_path) == [result_row()]
    assert pq.read_schema(tmp_path / CURVES_FILE).metadata[b"schema_version"] == b"1"
    assert column_types(CurveRow)["absolute"] == ("bool", False)


def test_a_folder_may_have_no_curves(tmp_path: Path) -> None:
    write_tables(tmp_path, [result_row()], [], [curve_row()])
    write_tables(tmp_path, [result_row()], [])
    assert not (tmp_path / CURVES_FILE).exists()
    assert read_curves(tmp_path) == []
    with pytest.raises(FileNotFoundError, match=r"Expected curves.parquet of a benchmark"):
        read_curves(tmp_path / CURVES_FILE)


@pytest.mark.slow
def test_boards_and_submissions_do_not_need_curves(tmp_path: Path) -> None:
    fake = fake_bench()
    for name, curves in (("with", [curve_row()]), ("without", [])):
        write_tables(tmp_path / name, fake.results, fake.scores, curves)
    boards = [read_board(tmp_path / name, truths()) for name in ("with", "without")]
    assert boards[0].rows == boards[1].rows and not boards[0].invalid
    texts = [
        export_submission(tmp_path / name, "noisy", truths(), authors=["A. Person"])
        for name in ("with", "without")
    ]
    assert texts[0] == texts[1]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(fraction=1.5), "expected fraction to be a number from 0 to 1, got 1.5"),
        (dict(fraction=None), "expected fraction"),
        (dict(faithfulness=float("nan")), "expected faithfulness to be a finite number"),
        (dict(faithfulness=None), "expected faithfulness"),
        (dict(n_edges=-1), "expected n_edges to be a non-negative int32"),
        (dict(absolute=1), "expected absolute to be a bool"),
        (dict(method=""), "expected method to be a non-empty string"),
    ],
)
def test_wrong_values(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_tables(tmp_path, [], [], [curve_row(**changes)])
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    write_tables(tmp_path, [result_row()], [], [curve_row()])
    path = tmp_path / CURVES_FILE
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"curves.parquet: Expected a Parquet file"):
        read_curves(tmp_path)
    path.write_bytes((tmp_path / RESULTS_FILE).read_bytes())
    with pytest.raises(ValueError, match="Expected the 9 columns of CurveRow"):
        read_curves(tmp_path)
    with pytest.raises(ValueError, match="Expected one row for each run"):
        write_tables(tmp_path, [], [], [curve_row(), curve_row(faithfulness=1.0)])


@pytest.fixture(scope="module")
def settings() -> BenchSettings:
    return BenchSettings(choose_methods(["eap", "hisp"]), n_inputs=8)


@pytest.fixture(scope="module")
def finished(
    settings: BenchSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, BenchOutcome]:
    folder = tmp_path_factory.mktemp("bench")
    return folder, run_bench([make_model("35")], settings, folder)


@pytest.mark.slow
def test_the_areas_of_the_curves_are_cpr_and_cmd(finished: tuple[Path, BenchOutcome]) -> None:
    _, outcome = finished
    counts = Counter((row.method, row.absolute) for row in outcome.curves)
    assert set(counts.values()) == {len(MIB_FRACTIONS)} and len(counts) == 4
    for row in outcome.results:
        if (row.universe, row.level) != ("qkv", "edge"):
            continue
        areas = {}
        for absolute in (True, False):
            own = [
                each
                for each in outcome.curves
                if (each.method, each.absolute) == (row.method, absolute)
            ]
            assert [each.fraction for each in own] == list(MIB_FRACTIONS)
            heights = np.asarray([each.faithfulness for each in own])
            areas[absolute] = faithfulness_areas(np.asarray(MIB_FRACTIONS), heights)
        assert (areas[False][0], areas[True][1]) == pytest.approx((row.cpr, row.cmd))


@pytest.mark.slow
def test_curves_are_resumed(finished: tuple[Path, BenchOutcome], settings: BenchSettings) -> None:
    folder, outcome = finished
    again = run_bench([make_model("35")], settings, folder)
    assert again.n_kept == 2 and again.curves == outcome.curves


@pytest.mark.slow
def test_parts_of_an_earlier_release_are_kept_without_curves(
    finished: tuple[Path, BenchOutcome], settings: BenchSettings, tmp_path: Path
) -> None:
    from interpbench_jax.bench.parts import _sha256

    folder, outcome = finished
    (tmp_path / PARTS_FOLDER).mkdir()
    for part in (folder / PARTS_FOLDER).iterdir():
        head, body = part.read_text().splitlines()
        content = json.loads(body)
        del content["curves"]
        body = json.dumps(content)
        head = json.dumps(json.loads(head) | {"sha256": _sha256(body)})
        (tmp_path / PARTS_FOLDER / part.name).write_text(f"{head}\n{body}\n")
    again = run_bench([make_model("35")], settings, tmp_path)
    assert again.n_kept == 2 and again.results == outcome.results and not again.curves


@pytest.mark.slow
def test_a_part_with_the_curve_of_another_run_counts_as_missing(
    finished: tuple[Path, BenchOutcome], settings: BenchSettings, tmp_path: Path
) -> None:
    from interpbench_jax.bench.parts import _sha256

    folder, outcome = finished
    (tmp_path / PARTS_FOLDER).mkdir()
    for part in (folder / PARTS_FOLDER).iterdir():
        head, body = part.read_text().splitlines()
        content = json.loads(body)
        content["curves"][0]["method"] = "another"
        body = json.dumps(content)
        head = json.dumps(json.loads(head) | {"sha256": _sha256(body)})
        (tmp_path / PARTS_FOLDER / part.name).write_text(f"{head}\n{body}\n")
    again = run_bench([make_model("35")], settings, tmp_path)
    assert again.n_kept == 0 and again.curves == outcome.curves
