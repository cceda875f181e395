"""The shares of a benchmark's runs: their numbers, and where the plan is cut."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_jax.bench.plan import BenchSettings, Run, Subject, choose_methods, plan_runs
from interpbench_jax.bench.shards import MOST_SHARDS, Shard
from interpbench_jax.bench.shares import plan_share, share_runs
from tests.tiny_models import make_model

# A case's shape by its first letter, and the weight of its runs.
WEIGHTS = {"a": 137, "b": 1, "c": 40, "d": 137}


def make_runs(cases: Sequence[str], methods: int = 2, seeds: int = 1, orders: int = 1) -> list[Run]:
    """Return runs in a benchmark's order, with the cases of each shape together."""
    shapes = dict.fromkeys(case[0] for case in cases)
    return [
        Run(case, f"m{method}", "resample", seed, order)
        for shape in shapes
        for method in range(methods)
        for case in cases
        if case[0] == shape
        for seed in range(seeds)
        for order in range(orders)
    ]


def shares(runs: Sequence[Run], n: int) -> list[tuple[Run, ...]]:
    weights = {run.case: WEIGHTS[run.case[0]] for run in runs}
    shapes = {run.case: run.case[0] for run in runs}
    return [share_runs(runs, weights, shapes, Shard(index, n)) for index in range(n)]


def weight(runs: Sequence[Run]) -> int:
    return sum(WEIGHTS[run.case[0]] for run in runs)


some_cases = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 5)).map(lambda each: f"{each[0]}{each[1]}"),
    min_size=1,
    max_size=8,
    unique=True,
)


@pytest.mark.slow
@given(some_cases, *(st.integers(1, 3) for _ in range(3)), st.integers(1, 12))
def test_every_run_is_in_one_share_and_shares_weigh_alike(
    cases: list[str], methods: int, seeds: int, orders: int, n: int
) -> None:
    runs = make_runs(cases, methods, seeds, orders)
    cut = shares(runs, n)
    assert sorted(runs, key=str) == sorted((run for share in cut for run in share), key=str)
    heaviest = max(weight([run]) for run in runs)
    for share in cut:
        assert abs(n * weight(share) - weight(runs)) <= n * heaviest
        assert list(share) == [run for run in runs if run in share]


@pytest.mark.slow
@given(some_cases, st.integers(1, 3), st.integers(1, 3), st.integers(1, 12))
def test_a_shape_is_split_only_where_it_must_be(
    cases: list[str], methods: int, seeds: int, n: int
) -> None:
    runs = make_runs(cases, methods, seeds)
    cut = shares(runs, n)
    heaviest = max(weight([run]) for run in runs)
    shapes = list(dict.fromkeys(run.case[0] for run in runs))
    # The weights up to the end of each shape.
    borders = [
        sum(weight([run]) for run in runs if run.case[0] in shapes[:count])
        for count in range(len(shapes) + 1)
    ]
    for index in range(1, n):
        end = sum(map(weight, cut[:index]))
        even = index * weight(runs)
        is_near = any(2 * abs(n * border - even) <= n * heaviest for border in borders)
        assert end in borders or not is_near
    for key in (lambda run: run.case[0], lambda run: run.case, lambda run: (run.case, run.seed)):
        places = {
            group: [i for i in range(n) if group in map(key, cut[i])] for group in map(key, runs)
        }
        # Only shares that are empty come between.
        for group, own in places.items():
            between = range(own[0], own[-1] + 1)
            assert all(i in own or not cut[i] for i in between), group
        assert sum(map(len, places.values())) <= len(places) + n - 1


def cases_of(cut: Sequence[Sequence[Run]]) -> list[list[str]]:
    return [list(dict.fromkeys(run.case for run in share)) for share in cut]


def test_shares_worked_out_by_hand() -> None:
    two_shapes = make_runs(["a1", "d1", "a2", "d2"])
    assert cases_of(shares(two_shapes, 2)) == [["a1", "a2"], ["d1", "d2"]]
    assert cases_of(shares(two_shapes, 4)) == [["a1"], ["a2"], ["d1"], ["d2"]]
    assert [len(share) for share in shares(two_shapes, 8)] == [1] * 8
    # The even cut is within the first shape, but its end is near enough.
    assert cases_of(shares(make_runs(["a1", "b1", "b2", "b3"], methods=1), 2)) == [
        ["a1"],
        ["b1", "b2", "b3"],
    ]
    # A run that weighs more than a share leaves another share empty.
    assert [len(share) for share in shares(make_runs(["a1", "b1"], methods=1), 3)] == [0, 1, 1]


def test_there_may_be_more_shards_than_runs() -> None:
    runs = make_runs(["a1", "a2"], methods=1)
    assert [len(share) for share in shares(runs, 5)].count(0) == 3


def test_the_runs_of_a_case_and_seed_stay_together() -> None:
    runs = make_runs(["a1", "a2"], methods=3, seeds=2)
    assert [{(run.case, run.seed) for run in share} for share in shares(runs, 4)] == [
        {(case, seed)} for case in ("a1", "a2") for seed in (0, 1)
    ]


def test_a_run_weighs_as_much_as_its_model_has_edges() -> None:
    subjects = [Subject.of(make_model(case)) for case in ("21", "36", "24")]
    settings = BenchSettings(choose_methods(["eap", "acdc"]), seeds=(0, 1), orders=2)
    cut = [plan_share(subjects, settings, Shard(index, 3)) for index in range(3)]
    assert [{run.case for run in share} for share in cut] == [{"21"}, {"24"}, {"36"}]
    assert sum(map(len, cut)) == len(plan_runs(subjects, settings)) == 3 * 2 * 3


@pytest.mark.parametrize("text", ["3/3", "4/3", "0/0", f"0/{MOST_SHARDS + 1}"])
def test_numbers_of_no_shard(text: str) -> None:
    with pytest.raises(ValueError, match=rf"i from 0 to n - 1 .* such as 0/3.* got {text}\."):
        Shard.parse(text)


@pytest.mark.parametrize(
    "text", ["", "1", "1/", "/3", "a/3", "-1/3", "0/-3", "0 / 3", "\u0660/3", "0/3\n"]
)
def test_texts_that_name_no_shard(text: str) -> None:
    with pytest.raises(ValueError, match="Expected a shard as i/n, such as 0/3"):
        Shard.parse(text)


def test_a_shard_and_its_folder() -> None:
    shard = Shard.parse("2/12")
    assert (shard.index, shard.of, str(shard)) == (2, 12, "2/12")
    assert shard.folder_name == "shard-2-of-12"
    assert Shard.of_folder("shard-2-of-12") == shard
    for name in ("shard-3-of-3", "shard-02-of-12", "shard-2-of-12.old", "shard-x-of-3", "parts"):
        assert Shard.of_folder(name) is None
