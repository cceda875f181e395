"""Comparisons of two benchmarks."""

import json
from dataclasses import replace

import pytest

from interpbench_jax.bench.compare import (
    compare_results,
    comparison_as_json,
    comparison_grids,
)
from interpbench_jax.report.rows import ResultRow
from tests.bench.fake_results import fake_bench, result_row


def rows_of(areas: dict[tuple[str, str], float], **others: object) -> list[ResultRow]:
    return [
        result_row(case, method, universe="head-no-embed", roc_auc=area, **others)  # pyright: ignore
        for (case, method), area in areas.items()
    ]


def test_differences_are_paired_by_case_and_method() -> None:
    first = rows_of({("3", "a"): 0.5, ("11", "a"): 0.6, ("3", "b"): 0.9, ("11", "b"): 0.9})
    second = rows_of({("3", "a"): 0.7, ("11", "a"): 0.9, ("3", "b"): 0.9, ("11", "b"): 0.8})
    found = compare_results(first, second)
    a, b = found.methods
    assert (a.first, a.n, a.p, a.a12) == ("a (resample)", 2, 2 / 4, 1.0)
    assert a.p_holm == b.p_holm == pytest.approx(0.6346, abs=1e-4)  # Twice the smaller p.
    assert a.difference is not None and a.difference.mean == pytest.approx(0.25)
    assert b.difference is not None and b.difference.mean == pytest.approx(-0.05)
    assert b.p == pytest.approx(0.3173, abs=1e-4)  # One difference: z = -1.
    case_3, case_11 = found.cases
    assert (case_3.first, case_11.first) == ("case 3", "case 11")
    assert case_11.difference is not None and case_11.difference.mean == pytest.approx(0.1)
    assert [(each.case, each.method, round(each.difference, 9)) for each in found.changes] == [
        ("3", "a", 0.2),
        ("3", "b", 0.0),
        ("11", "a", 0.3),
        ("11", "b", -0.1),
    ]
    assert not found.is_same and not found.mismatches


def test_seeds_are_averaged() -> None:
    first = rows_of({("3", "a"): 0.5})
    second = rows_of({("3", "a"): 0.5}) + rows_of({("3", "a"): 0.7}, seed=1)
    found = compare_results(first, second)
    assert found.changes[0].second == pytest.approx(0.6)
    assert found.mismatches == ("seeds differ: [0] and [0, 1]",)


def test_what_only_one_has_is_told() -> None:
    first = rows_of({("3", "a"): 0.5, ("11", "a"): 0.5, ("3", "gone"): 0.5})
    second = rows_of({("3", "a"): 0.5, ("21", "a"): 0.5})
    found = compare_results(first, second)
    assert found.only_first == (("3", "gone", "resample"), ("11", "a", "resample"))
    assert found.only_second == (("21", "a", "resample"),)
    assert not found.is_same and len(found.changes) == 1


def test_what_was_run_differently_is_told() -> None:
    first = rows_of({("3", "a"): 0.5, ("11", "a"): 0.5})
    second = [replace(row, package_version="0.2.0", jax_version="1") for row in first]
    second[1] = replace(second[1], model_digest="other", settings='{"steps": 9}')
    found = compare_results(first, second)
    assert found.mismatches == (
        "package_version differs in 2 of 2 runs (cases 3, 11): for example, 0.1.0 and 0.2.0",
        "jax_version differs in 2 of 2 runs (cases 3, 11): for example, 0.10.2 and 1",
        "model_digest differs in 1 of 2 runs (cases 11): the models are not the same",
        'settings differs in 1 of 2 runs (cases 11): for example, {"steps": 5} and {"steps": 9}',
    )
    assert found.is_same  # The areas are the same.


def test_an_undefined_area_is_no_change() -> None:
    first = rows_of({("3", "a"): 0.5, ("11", "a"): 0.5})
    second = rows_of({("3", "a"): 0.5})
    second += [replace(first[1], roc_auc=None)]
    found = compare_results(first, second)
    assert [change.case for change in found.changes] == ["3"]
    assert not found.only_first and not found.only_second


def test_nothing_to_compare() -> None:
    first, second = rows_of({("3", "a"): 0.5}), rows_of({("11", "b"): 0.5})
    with pytest.raises(ValueError, match="first has cases 3, methods a, resample, the second ca"):
        compare_results(first, second)
    with pytest.raises(ValueError, match="the first has none, the second none"):
        compare_results(first, first, level="node")


def test_the_same_benchmark_is_the_same() -> None:
    rows = fake_bench(seeds=(0, 1)).results
    for universe in ("qkv", "head", "head-no-embed"):
        found = compare_results(rows, rows, universe=universe)
        assert found.is_same and len(found.changes) == 9
        assert {each.p for each in found.methods} == {1.0}
        assert {each.a12 for each in found.methods} == {0.5}


def test_tables_and_json() -> None:
    first = rows_of({("3", "a"): 0.5, ("11", "a"): 0.6})
    second = rows_of({("3", "a"): 0.7, ("11", "a"): 0.6})
    found = compare_results(first, second)
    by_method, by_case, changes = comparison_grids(found)
    assert by_method.headers == ("method", "cases", "difference", "p", "p (Holm)", "A12")
    assert by_method.rows[0][:3] == ("a (resample)", "2", "+0.100 [+0.000, +0.200]")
    assert by_case.rows[1][:3] == ("case 11", "1", "+0.000")
    assert changes.rows == (("3", "a (resample)", "0.500", "0.700", "+0.200"),)
    data = comparison_as_json(found)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["changes"] == [
        {
            "case": case,
            "method": "a",
            "ablation": "resample",
            "first": before,
            "second": after,
            "difference": after - before,
        }
        for case, before, after in (("3", 0.5, 0.7), ("11", 0.6, 0.6))
    ]
    assert len(comparison_grids(compare_results(first, first))) == 2  # no table of changes
