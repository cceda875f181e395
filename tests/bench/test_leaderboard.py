"""Leaderboards made from folders of submissions and benchmarks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interpbench_jax.bench.export import export_submission
from interpbench_jax.bench.leaderboard import (
    board_as_json,
    board_grids,
    board_markdown,
    read_board,
    score_submission,
)
from interpbench_jax.bench.submission import check_submission
from interpbench_jax.bench.table import write_tables
from interpbench_jax.scores import paper_auc, paper_curve, rank_scores
from interpbench_jax.universes import UNIVERSES, UniverseName
from tests.bench.fake_results import CASES_USED, digest_of, fake_bench, submission, truths


def write(path: Path, data: dict) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")


def with_noise(data: dict, size: float) -> dict:
    generator = np.random.default_rng(0)
    for case in data["cases"]:
        for pair in case["scores"]:
            pair[1] += size * generator.random()
    return data


def test_a_perfect_submission_scores_one_in_every_coarser_universe() -> None:
    checked = check_submission(submission("qkv"), truths())
    assert checked.submission is not None
    rows = score_submission(checked.submission, truths())
    assert len(rows) == 12 and {row.roc_auc for row in rows} == {1.0}
    assert {row.universe for row in rows} == {*UNIVERSES}
    # There are 137 edges in `qkv`, and 53 in `head`.
    assert {row.n_items for row in rows if row.universe == "qkv"} == {137}
    in_head = [row for row in rows if row.universe == "head"]
    assert [(row.case, row.n_items, row.n_true) for row in in_head] == [
        ("3", 53, 4),
        ("11", 53, 3),
        ("21", 53, 2),
    ]
    assert [row.tier for row in in_head] == [truths()[case].tier for case in CASES_USED]


def test_reversed_scores_score_zero() -> None:
    data = submission("head")
    for case in data["cases"]:
        case["scores"] = [[name, -score] for name, score in case["scores"]]
    checked = check_submission(data, truths())
    assert checked.submission is not None
    rows = score_submission(checked.submission, truths())
    assert {row.roc_auc for row in rows} == {0.0}
    assert {row.universe for row in rows} == {"head", "head-no-embed"}


def test_nodes_are_scored_in_their_universe_and_the_coarser_one() -> None:
    checked = check_submission(submission("head", "node"), truths())
    assert checked.submission is not None
    rows = score_submission(checked.submission, truths())
    found = {(row.universe, row.level, row.roc_auc, row.n_items) for row in rows}
    assert found == {("head", "node", 1.0, 11), ("head-no-embed", "node", 1.0, 10)}


def test_ranking(tmp_path: Path) -> None:
    write(tmp_path / "b.json", submission(method="best"))
    write(tmp_path / "a.json", with_noise(submission(method="noise"), 100.0))
    write(tmp_path / "n.json", submission("head", "node", method="nodes"))
    board = read_board(tmp_path, truths())
    assert [source.name for source in board.sources] == ["a.json", "b.json", "n.json"]
    assert not board.invalid
    best, noise = board.entries()
    assert (best.method, noise.method) == ("best", "noise")
    assert best.head is not None and (best.head.mean, best.head.low) == (1.0, 1.0)
    assert noise.head is not None and noise.head.mean < 0.9
    assert [entry.method for entry in board.entries("node")] == ["nodes"]


def test_invalid_files_are_listed(tmp_path: Path) -> None:
    write(tmp_path / "good.json", submission())
    wrong = submission()
    for index in range(5):
        wrong["cases"][0]["scores"][index][1] = None
    write(tmp_path / "wrong.json", wrong)
    (tmp_path / "worse.json").write_text("{")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "results.parquet").write_bytes(b"PAR1")
    warned = submission(method="warned")
    warned["cases"][0]["model_digest"] = "0" * 64
    write(tmp_path / "warned.json", warned)
    board = read_board(tmp_path, truths())
    assert [source.name for source in board.invalid] == [
        "worse.json",
        "wrong.json",
        "odd/results.parquet",
    ]
    assert {entry.method for entry in board.entries()} == {"mine", "warned"}
    (grid,) = [grid for grid in board_grids(board) if grid.title == "Problems"]
    told = {(row[0], row[1], row[2]) for row in grid.rows}
    assert ("wrong.json", "no", "cases[0].scores[0][1]") in told
    assert ("warned.json", "yes", "cases[0].model_digest") in told
    assert ("worse.json", "no", "the file") in told
    assert "and 2 more" in {row[3] for row in grid.rows}
    assert str(tmp_path) not in board_markdown(board)
    data = board_as_json(board)
    assert json.loads(json.dumps(data, allow_nan=False)) == json.loads(json.dumps(data))
    files = {file["name"]: file for file in data["files"]}  # pyright: ignore
    assert len(files["wrong.json"]["problems"]) == 5 and not files["wrong.json"]["is_valid"]
    assert files["good.json"]["authors"] == ["A. Person"]


def test_benchmarks_are_ranked_beside_submissions(tmp_path: Path) -> None:
    fake = fake_bench()
    write_tables(tmp_path / "mine", fake.results, fake.scores)
    write(tmp_path / "s.json", submission(method="exact"))
    board = read_board(tmp_path, truths())
    assert not board.invalid
    # The name is already taken, and two sources are never merged.
    methods = [entry.method for entry in board.entries()]
    assert sorted(methods) == ["exact", "exact [mine]", "noisy", "random"]
    assert methods[-1] == "random"
    alone = read_board(tmp_path / "mine", truths())
    assert [source.name for source in alone.sources] == ["results.parquet"]
    assert sorted(entry.method for entry in alone.entries()) == ["exact", "noisy", "random"]


def test_a_benchmark_of_other_models_is_told(tmp_path: Path) -> None:
    fake = fake_bench(methods=("exact",))
    rows = [replace(row, model_digest="x") if row.case == "11" else row for row in fake.results]
    write_tables(tmp_path, rows, fake.scores)
    (source,) = read_board(tmp_path, truths()).sources
    assert source.is_valid and "others in cases 11:" in source.problems[0].message


def test_part_of_the_cases_ranks_after_all_of_them(tmp_path: Path) -> None:
    whole, part = fake_bench(methods=("noisy",)), fake_bench(methods=("exact",), cases=("11",))
    write_tables(tmp_path, [*whole.results, *part.results], [*whole.scores, *part.scores])
    entries = read_board(tmp_path, truths()).entries()
    assert [(entry.method, entry.n_cases) for entry in entries] == [("noisy", 3), ("exact", 1)]


def test_no_folder_and_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Expected submissions"):
        read_board(tmp_path, truths())
    with pytest.raises(FileNotFoundError, match="Expected a folder of submissions"):
        read_board(tmp_path / "none", truths())


def test_strangers_texts_draw_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.json", submission(method="[red]x[/red] | <b>`y`"))
    text = board_markdown(read_board(tmp_path, truths()))
    assert r"\[red\]x\[/red\] \| \<b\>\`y\`" in text


# Submissions made from benchmarks


@pytest.mark.slow
def test_a_benchmarks_method_becomes_a_submission(tmp_path: Path) -> None:
    fake = fake_bench(ablations=("resample", "mean"), seeds=(3, 4))
    write_tables(tmp_path, fake.results, fake.scores)
    text = export_submission(
        tmp_path,
        "noisy",
        truths(),
        authors=["A"],
        ablation="mean",
        seed=4,
        url="https://example.org",
    )
    checked = check_submission(json.loads(text), truths())
    assert checked.problems == () and checked.submission is not None
    assert checked.submission.settings["settings"] == {case: {"steps": 5} for case in CASES_USED}
    assert {case.model_digest for case in checked.submission.cases} == {*map(digest_of, CASES_USED)}
    scored = {
        (row.case, row.universe): row.roc_auc
        for row in score_submission(checked.submission, truths())
    }
    measured = {
        (row.case, row.universe): row.roc_auc
        for row in fake.results
        if (row.method, row.ablation, row.seed) == ("noisy", "mean", 4)
    }
    assert scored == measured
    lowest = export_submission(tmp_path, "noisy", truths(), authors=["A"], ablation="mean")
    lowest = json.loads(lowest)
    assert lowest["settings"]["seed"] == 3


@pytest.mark.slow
def test_what_would_be_refused_is_not_written(tmp_path: Path) -> None:
    fake = fake_bench()
    some = [row for row in fake.results if row.case != "21"]
    write_tables(tmp_path, some, fake.scores)
    with pytest.raises(ValueError, match=r"edge scores of all 3 cases, .* missing: 21"):
        export_submission(tmp_path, "noisy", truths(), authors=["A"])
    write_tables(tmp_path, fake.results, fake.scores)
    with pytest.raises(ValueError, match="authors"):
        export_submission(tmp_path, "noisy", truths(), authors=[])
    with pytest.raises(ValueError, match="Expected text on one line"):
        export_submission(tmp_path, "noisy", truths(), authors=["A\nB"])


@pytest.mark.slow
@pytest.mark.parametrize("universe", ["qkv", "head", "head-no-embed"])
def test_a_submissions_scores_say_more_than_the_area(universe: UniverseName) -> None:
    data = with_noise(submission(universe), 0.5)
    checked = check_submission(data, truths())
    assert checked.submission is not None
    for case in checked.submission.cases:
        circuit = truths()[case.case].circuit
        ranks = rank_scores(case.scores, circuit, universe, absolute=False)
        for rank in ranks:
            if rank.level != "edge":
                continue
            (row,) = [
                row
                for row in score_submission(checked.submission, truths())
                if (row.case, row.universe) == (case.case, rank.universe)
            ]
            assert (row.roc_auc, row.average_precision) == (rank.roc_auc, rank.average_precision)
            expected = None
            if rank.universe == "head":
                curve = paper_curve(case.scores, circuit, universe, absolute=False)
                expected = paper_auc(curve, "edge")
                assert expected is not None and expected > 0
            assert row.paper_auc == expected


@pytest.mark.slow
def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    fake = fake_bench(ablations=("resample", "mean"))
    write_tables(tmp_path, fake.results, fake.scores)

    def refused(message: str, method: str = "noisy", **options: object) -> None:
        with pytest.raises(ValueError, match=message):
            export_submission(
                tmp_path,
                method,
                truths(),
                authors=["A"],
                **options,  # pyright: ignore
            )

    refused(
        r"Expected one of the benchmark's methods \(exact, noisy, random\), got 'other'", "other"
    )
    refused("Expected one ablation, found mean, resample; choose one")
    refused("one of the ablations mean, resample", ablation="zero")
    refused(r"one of the seeds \[0\], got 'mean' and 7", ablation="mean", seed=7)
    write_tables(tmp_path, fake.results, [row for row in fake.scores if row.case != "21"])
    refused("Expected scores of case '21' beside its result", ablation="mean")
    infinite = [replace(row, value=float("inf")) if row.case == "3" else row for row in fake.scores]
    write_tables(tmp_path, fake.results, infinite)
    refused("Expected finite scores to submit, got inf", ablation="mean")
