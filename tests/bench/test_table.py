"""A benchmark's files: written tables are read back, and anything else is refused."""

import random
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interpbench_jax.bench.table import (
    RESULTS_FILE,
    SCORES_FILE,
    column_types,
    read_results,
    read_scores,
    write_tables,
)
from interpbench_jax.report.rows import ResultRow, ScoreRow
from tests.bench.fake_results import fake_bench, result_row


def score_row(**changes: object) -> ScoreRow:
    row = ScoreRow(
        case="11",
        method="exact",
        ablation="mean",
        seed=0,
        level="edge",
        item="hook_embed -> blocks.0.hook_mlp_in",
        value=0.5,
        truth="in",
    )
    return replace(row, **changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_what_was_written_is_read(tmp_path: Path) -> None:
    fake = fake_bench(ablations=("resample", "mean"), seeds=(0, 1))
    nothing = {field.name: None for field in fields(ResultRow) if "None" in str(field.type)}
    rows = [*fake.results, replace(result_row(level="node"), **nothing)]
    paths = write_tables(tmp_path / "new" / "folder", rows, fake.scores)
    assert [path.name for path in paths] == [RESULTS_FILE, SCORES_FILE]
    assert read_results(paths[0]) == sorted(rows, key=lambda row: row.key)
    assert read_results(tmp_path / "new" / "folder") == read_results(paths[0])
    assert read_scores(paths[1].parent) == sorted(fake.scores, key=lambda row: row.key)
    assert [row.case for row in read_results(paths[0])] == sorted(
        (row.case for row in rows), key=int
    )
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(
        path.name for path in paths
    )


def test_the_same_rows_in_any_order_are_the_same_bytes(tmp_path: Path) -> None:
    fake = fake_bench()
    results, scores = list(fake.results), list(fake.scores)
    first = write_tables(tmp_path / "a", results, scores)
    random.Random(0).shuffle(results)
    random.Random(1).shuffle(scores)
    second = write_tables(tmp_path / "b", results, scores)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    write_tables(tmp_path / "c", [*results[1:], replace(results[0], seconds=9.0)], scores)
    assert (tmp_path / "c" / RESULTS_FILE).read_bytes() != first[0].read_bytes()


def test_columns_are_typed() -> None:
    types = column_types(ResultRow)
    assert types["case"] == ("string", False)
    assert types["seed"] == ("int32", False)
    assert types["universe"] == ("string", False)
    assert types["roc_auc"] == ("double", True)
    assert types["shd"] == ("int32", True)
    assert types["is_connected"] == ("bool", True)
    assert list(types)[-1] == "schema_version"
    assert column_types(ScoreRow)["truth"] == ("string", False)


def test_the_files_say_their_version(tmp_path: Path) -> None:
    results, scores = write_tables(tmp_path, [result_row()], [score_row()])
    for path in (results, scores):
        metadata = pq.read_schema(path).metadata
        assert metadata[b"format"] == b"interpbench-bench" and metadata[b"schema_version"] == b"1"
    table = pq.read_table(results, use_threads=False, pre_buffer=False)
    assert table["schema_version"].to_pylist() == [1]
    assert not table.schema.field("case").nullable and table.schema.field("roc_auc").nullable


def test_no_rows_are_rows(tmp_path: Path) -> None:
    write_tables(tmp_path, [], [])
    assert read_results(tmp_path) == [] and read_scores(tmp_path) == []


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (
            result_row,
            dict(roc_auc=1.5),
            r"Row 0 \(case '11', method 'exact'\): expected roc_auc to be a",
        ),
        (result_row, dict(roc_auc=float("nan")), "expected roc_auc"),
        (
            result_row,
            dict(cpr=float("inf")),
            "expected cpr to be a finite number, or None, got inf",
        ),
        (result_row, dict(seed=-1), "expected seed to be a non-negative int32"),
        (result_row, dict(seed=2**31), "expected seed to be a non-negative int32"),
        (result_row, dict(shd=True), "expected shd"),
        (result_row, dict(method=""), "expected method to be a non-empty string"),
        (result_row, dict(settings="[]"), "expected settings to be a JSON object"),
        (result_row, dict(settings="{"), "expected settings to be a JSON object"),
        (result_row, dict(universe="all"), "expected universe to be one of qkv, "),
        (result_row, dict(level="neuron"), "expected level to be one of edge, node"),
        (result_row, dict(device=None), "expected device to be a string"),
        (result_row, dict(is_connected=1), "expected is_connected to be a bool, or None"),
        (score_row, dict(value=float("nan")), "expected value to be a number, got nan"),
        (score_row, dict(truth="yes"), "expected truth to be one of in, out, constant"),
        (score_row, dict(item=""), "expected item to be a non-empty string"),
    ],
)
def test_what_no_benchmark_gives_is_not_written(
    tmp_path: Path,
    make: Callable[..., ResultRow | ScoreRow],
    changes: dict[str, object],
    message: str,
) -> None:
    row = make(**changes)
    results = [row] if isinstance(row, ResultRow) else []
    scores = [row] if isinstance(row, ScoreRow) else []
    with pytest.raises(ValueError, match=message):
        write_tables(tmp_path / "new", results, scores)
    assert not (tmp_path / "new").exists()


def test_a_run_counts_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"two of case '11', \('exact', 'resample', 0, 0, 'edge'"):
        write_tables(tmp_path, [result_row(), result_row(roc_auc=0.5)], [])
    with pytest.raises(ValueError, match="was the same run added twice"):
        write_tables(tmp_path, [], [score_row(), score_row(value=1.0)])


def rewrite(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)


def read(path: Path) -> pa.Table:
    return pq.read_table(path, use_threads=False, pre_buffer=False)


def test_other_tables_are_refused(tmp_path: Path) -> None:
    path, scores = write_tables(tmp_path, [result_row()], [score_row()])
    whole, good = path.read_bytes(), read(path)

    def refused(message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            read_results(path)
        assert str(caught.value).startswith(f"{path}: ")

    rewrite(path, good.replace_schema_metadata({"format": "interpbench-bench"}))
    refused("got a table without one")
    newer = {"format": "interpbench-bench", "schema_version": "2"}
    rewrite(path, good.replace_schema_metadata(newer))
    refused("Expected a benchmark's table of schema version 1, got version '2'")
    rewrite(path, good.drop_columns(["f1"]))
    refused(r"missing: \['f1'\], unexpected: \[\]")
    rewrite(path, good.append_column("more", pa.array([1])))
    refused(r"unexpected: \['more'\]")
    at = good.column_names.index("seed")
    rewrite(path, good.set_column(at, "seed", pa.array([0], pa.int64())))
    refused(r"of another type: \['seed \(int64\)'\]")
    at = good.column_names.index("schema_version")
    rewrite(path, good.set_column(at, "schema_version", pa.array([2], pa.int32())))
    refused("Expected schema_version 1 in every row")
    at = good.column_names.index("case")
    rewrite(path, good.set_column(at, "case", pa.array([None], pa.string())))
    refused("Expected a value for case in every row, got null")
    at = good.column_names.index("roc_auc")
    rewrite(path, good.set_column(at, "roc_auc", pa.array([7.0])))
    refused("expected roc_auc to be a number from 0 to 1, or None, got 7.0")
    rewrite(path, pa.concat_tables([good, good]))
    refused("Expected one row for each run")
    path.write_bytes(whole[:-20])
    refused("got one that cannot be opened")
    path.write_bytes(b"")
    refused("got one that cannot be opened")
    path.write_bytes(scores.read_bytes())
    refused("Expected the 37 columns of ResultRow")


def test_every_flipped_byte_is_seen_or_does_not_matter(tmp_path: Path) -> None:
    path, _ = write_tables(tmp_path, [result_row()], [])
    whole, rows = path.read_bytes(), read_results(path)
    generator = random.Random(0)
    refused = 0
    for _ in range(300):
        position = generator.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[position] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            found = read_results(path)
        except ValueError:
            refused += 1
        else:
            assert found == rows, position
    assert refused > 100


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected results\.parquet of a benchmark at"):
        read_results(tmp_path)
