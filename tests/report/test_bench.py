"""The tables of a benchmark."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from rich.console import Console

from interpbench_jax.cases.task import Tier
from interpbench_jax.names import case_order
from interpbench_jax.report.bench import (
    case_matrix,
    compare_with_best,
    labels,
    leaderboard,
    leaderboard_grid,
    matrix_grid,
    show_interval,
    show_p,
)
from interpbench_jax.report.grids import Grid, as_markdown, as_rich, number
from interpbench_jax.report.groups import TIERS, KnownCircuit, circuits_grid, tiers_grid
from interpbench_jax.report.results import results_markdown
from interpbench_jax.statistics import Interval
from tests.bench.fake_results import fake_bench, result_row


def area(case: str, method: str, value: float | None, **others: object):
    return result_row(case, method, universe="head-no-embed", roc_auc=value, **others)  # pyright: ignore


def test_means_are_over_cases_of_means_over_seeds() -> None:
    rows = [
        area("3", "a", 0.5),
        area("3", "a", 0.7, seed=1),
        area("11", "a", 1.0),
        area("21", "a", None, seed=0),
        result_row("3", "a", universe="head", roc_auc=0.25, seconds=4.0, cpr=0.5),
    ]
    (entry,) = leaderboard(rows)
    assert entry.n_cases == 3
    assert entry.head_no_embed is not None
    assert entry.head_no_embed.mean == pytest.approx((0.6 + 1.0) / 2)
    assert entry.head_no_embed.low is not None and entry.head_no_embed.low >= 0.5
    assert entry.head == Interval(0.25, None, None)
    assert entry.average_precision == pytest.approx(0.8)
    assert entry.paper_auc == 0.5
    # Case 3 has 0.75 and 0.5 in its two universes of seed 0, and 0.75 in seed 1.
    assert entry.cpr == pytest.approx((0.6875 + 0.75 + 0.75) / 3)
    assert entry.cmd is None
    assert entry.seconds == pytest.approx(((1.5 + 4.0) / 2 / 2 + 1.5 / 2 + 1.5 + 1.5) / 3)


def test_spread_is_over_the_runs_of_a_case() -> None:
    rows = [
        area("3", "a", 0.5),
        area("3", "a", 0.75, order=1),
        area("3", "a", 0.6, seed=1),
        area("11", "a", 0.9),
        area("11", "a", 0.8, seed=1),
        area("21", "a", 0.1),
        result_row("3", "a", universe="head", paper_auc=0.25),
        result_row("3", "a", universe="head", paper_auc=1.0, order=1),
        area("3", "b", 0.5),
    ]
    first, other = sorted(leaderboard(rows), key=lambda entry: entry.method)
    assert first.spread is not None and first.paper_spread is not None
    assert first.spread.mean == pytest.approx((0.25 + 0.1) / 2)
    assert first.spread.largest == pytest.approx(0.25)
    assert first.paper_spread.largest == 0.75
    assert first.head_no_embed is not None
    assert first.head_no_embed.mean == pytest.approx((np.mean([0.5, 0.75, 0.6]) + 0.85 + 0.1) / 3)
    assert other.spread is None and other.paper_spread is None
    grid = leaderboard_grid([first, other])
    shown = [row[grid.headers.index("spread")] for row in grid.rows]
    assert shown == ["0.175 (0.250)", "-"] and "Spread:" in grid.note
    assert "spread" not in leaderboard_grid([other]).headers


def test_ranking_is_by_cases_then_areas() -> None:
    rows = [area("3", "half", 1.0)]
    for method, no_embed, head in (("b", 0.8, 0.9), ("c", 0.8, 0.7), ("a", 0.9, 0.1)):
        for case in ("3", "11"):
            rows += [area(case, method, no_embed)]
            rows += [result_row(case, method, universe="head", roc_auc=head)]
    assert [entry.method for entry in leaderboard(rows)] == ["a", "b", "c", "half"]
    assert [entry.method for entry in leaderboard(rows, resamples=1)] == ["a", "b", "c", "half"]
    assert leaderboard(rows, "node") == ()


def test_leaderboard_table() -> None:
    rows = [area("3", "a", 0.5), area("11", "a", 1.0)]
    grid = leaderboard_grid(leaderboard(rows))
    assert grid.headers[:4] == ("method", "cases", "head-no-embed", "head")
    assert grid.rows[0][:5] == ("a", "2", "0.750 [0.500, 1.000]", "-", "0.750")
    rows += [area("3", "a", 0.6, ablation="mean")]
    grid = leaderboard_grid(leaderboard(rows))
    assert grid.headers[:3] == ("method", "ablation", "cases") and grid.n_left == 2
    assert [row[:3] for row in grid.rows] == [("a", "resample", "2"), ("a", "mean", "1")]


def test_tiers_are_those_of_the_tasks_from_easy_to_hard() -> None:
    assert TIERS[:3] == get_args(Tier)
    values = {"3": 0.25, "11": 0.5, "21": 1.0, "20": 0.75}
    grid = tiers_grid([area(case, "a", value) for case, value in values.items()])
    by_tier = dict(zip(grid.headers, grid.rows[0], strict=True))
    assert [header.rpartition(" ")[0] for header in grid.headers[1:-1]] == [
        tier for tier in TIERS if any(header.startswith(tier) for header in grid.headers)
    ]
    assert by_tier["all (4)"] == "0.625"
    for row in (area(case, "a", value) for case, value in values.items()):
        (header,) = [header for header in grid.headers if header.startswith(row.tier)]
        own = [values[case] for case in values if area(case, "a", 0.0).tier == row.tier]
        assert by_tier[header] == f"{np.mean(own):.3f}" and header.endswith(f"({len(own)})")


def test_an_unknown_tier_comes_last() -> None:
    rows = [area("3", "a", 0.5), area("mine", "a", 0.25)]
    assert tiers_grid(rows).headers[-2:] == ("no tier (1)", "all (2)")


def test_cases_that_share_a_circuit_count_once() -> None:
    circuits = {
        "one": KnownCircuit(1, True),
        "two": KnownCircuit(1, True),
        "hollow": KnownCircuit(1, False),
        "steps": KnownCircuit(2, True),
        "hollow steps": KnownCircuit(3, False),
    }
    values = {"one": 1.0, "two": 0.0, "hollow": 0.5, "steps": 0.8, "hollow steps": 0.2, "new": 0.1}
    tiers = {"steps": TIERS[2], "hollow steps": TIERS[2]}
    rows = [
        replace(area(case, "a", value), tier=tiers.get(case, TIERS[0]))
        for case, value in values.items()
    ]
    grid = circuits_grid(rows, circuits)
    assert grid is not None
    names = ("every circuit (3)", "live (2)", "live, more than one MLP (1)")
    assert grid.headers == ("method", *names)
    assert grid.rows == (("a", "0.500", "0.650", "0.800"),)
    assert "By distinct circuit" in results_markdown(rows, circuits)
    assert "By distinct circuit" not in results_markdown(rows)
    assert circuits_grid(rows[3:], circuits) is None
    assert circuits_grid([], circuits) is None


def test_matrix() -> None:
    rows = [area("11", "a", 0.5), area("3", "a", 1.0), area("3", "b", 0.5), area("11", "b", None)]
    matrix = case_matrix(rows)
    assert matrix.cases == ("3", "11") and matrix.methods == ("a", "b")
    np.testing.assert_array_equal(matrix.values, [[1.0, 0.5], [0.5, np.nan]])
    np.testing.assert_array_equal(matrix.means, [0.75, 0.5])
    assert matrix_grid(matrix).rows == (("a", "1.00", "0.50", "0.750"), ("b", "0.50", "-", "0.500"))
    nowhere = case_matrix(rows, "qkv")
    assert np.isnan(nowhere.values).all() and np.isnan(nowhere.means).all()


def test_the_best_is_compared_with_every_other() -> None:
    rows = fake_bench().results
    best, *_ = leaderboard(rows)
    found = compare_with_best(rows)
    assert {each.first for each in found} == {best.method} == {"exact"}
    assert [each.second for each in found] == ["noisy", "random"]
    assert all(each.difference and each.difference.mean > 0 for each in found)
    assert compare_with_best([row for row in rows if row.method == "exact"]) == ()


def test_markdown() -> None:
    rows = [*fake_bench(ablations=("resample", "mean")).results, result_row(level="node")]
    text = results_markdown(rows)
    assert text == results_markdown(rows[::-1])
    assert text.startswith("# Results\n\ninterpbench-jax 0.1.0; JAX 0.10.2; on cpu; inputs 100;")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Methods: mean ROC-AUC of edges",
        "## By tier: mean ROC-AUC in head-no-embed",
        "## By case: ROC-AUC in head-no-embed",
        "## By case: ROC-AUC in head",
        "## The best method against the others: ROC-AUC in head-no-embed",
        "## Methods: mean ROC-AUC of nodes",
    ]
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert "| exact (mean) | 1.00 | 1.00 | 1.00 | 1.000 |" in tables
    with pytest.raises(ValueError, match="Expected results of at least one run"):
        results_markdown([])


def test_texts_draw_nothing_but_themselves() -> None:
    grid = Grid("a|b", ("[x](y)", "n"), (("<i>\n\x1b[31m", "1"),), "n_te")
    assert as_markdown(grid) == (
        "## a\\|b\n\n| \\[x\\](y) | n |\n| --- | ---: |\n| \\<i\\>  \\[31m | 1 |\n\nn\\_te\n"
    )
    console = Console(width=60, color_system="standard", force_terminal=True)
    with console.capture() as capture:
        console.print(as_rich(Grid("[red]t", ("[b]h",), (("[red]x\x1b[31m",),))))
    shown = capture.get()
    assert "[red]t" in shown and "[b]h" in shown and "[red]x [31m" in shown
    assert "\x1b[31m" not in shown


def test_numbers_in_words() -> None:
    assert number(None) == number(float("nan")) == "-" and number(0.12345, 2) == "0.12"
    assert show_interval(None) == "-" and show_interval(Interval(0.5, None, None)) == "0.500"
    assert show_interval(Interval(0.5, -0.1, 1.0), signed=True) == "+0.500 [-0.100, +1.000]"
    assert show_p(None) == "-" and show_p(0.000123) == "0.00012"
    assert labels([("a", "mean"), ("b", "")]) == ("a (mean)", "b")
    assert labels([("a", "mean"), ("b", "mean")]) == ("a", "b")


def test_cases_are_in_their_order() -> None:
    assert sorted(["ioi", "11", "3", "007x"], key=case_order) == ["3", "11", "007x", "ioi"]
    names = ["held-out-10", "held-out-2", "8-current", "8"]
    assert sorted(names, key=case_order) == ["8", "8-current", "held-out-2", "held-out-10"]
