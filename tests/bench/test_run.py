"""Running methods on cases: rows, resuming and failures."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

from interpbench_jax.bench.outcome import BenchOutcome
from interpbench_jax.bench.parts import PARTS_FOLDER, part_path
from interpbench_jax.bench.plan import (
    BenchSettings,
    Run,
    Subject,
    choose_methods,
    facts_of,
    plan_runs,
)
from interpbench_jax.bench.run import Status, run_bench
from interpbench_jax.bench.table import read_results, write_tables
from interpbench_jax.bench.times import MethodTime, failures_grid, times_grid
from interpbench_jax.case import Case
from interpbench_jax.discovery import DiscoveryData, Method, Scores, discover
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.names import Level
from interpbench_jax.report.rows import ResultRow
from interpbench_jax.scores import (
    edges_from_nodes,
    paper_auc,
    paper_curve,
    rank_scores,
    structure_scores,
)
from interpbench_jax.scores.faithfulness import FaithfulnessCurve, faithfulness_curve
from interpbench_jax.universes import UNIVERSES, universe
from tests.tiny_models import make_model

N_INPUTS = 8


@dataclasses.dataclass(frozen=True)
class Nothing:
    """Minimal settings."""

    size: float = 1.0


def drawn(level: Level) -> Method:
    """Return a method that draws random scores, which depend on the key alone."""

    def run(
        model: Transformer, data: DiscoveryData, metric: Metric, settings: Nothing, key: jax.Array
    ) -> Scores:
        space = universe("qkv", model.config.n_layers, model.config.n_heads)
        items = space.edges if level == "edge" else space.sources
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
        scores = settings.size * generator.standard_normal(len(items))
        return Scores(level, "qkv", scores)

    return Method(run, Nothing(), is_random=True)


def broken(
    model: Transformer, data: DiscoveryData, metric: Metric, settings: Nothing, key: jax.Array
) -> Scores:
    raise ArithmeticError("nothing adds\nup")


def make_settings(**methods: Method) -> BenchSettings:
    return BenchSettings(methods, seeds=(0, 1), n_inputs=N_INPUTS)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_model("35"), make_model("37", seed=1)]  # the models have one shape


@pytest.fixture(scope="module")
def settings() -> BenchSettings:
    return make_settings(edges=drawn("edge"), nodes=drawn("node"))


@pytest.fixture(scope="module")
def finished(
    cases: list[Case], settings: BenchSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, BenchOutcome, list[Status]]:
    folder, seen = tmp_path_factory.mktemp("bench"), []
    return folder, run_bench(cases, settings, folder, seen.append), seen


def find(rows: Sequence[ResultRow], **wanted: object) -> ResultRow:
    (row,) = [
        row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())
    ]
    return row


def without_seconds(outcome: BenchOutcome) -> list[ResultRow]:
    return [dataclasses.replace(row, seconds=None) for row in outcome.results]


@pytest.mark.slow
def test_every_run_has_a_row_of_every_universe_and_level(finished) -> None:
    _, outcome, _ = finished
    keys = {row.key for row in outcome.results}
    assert len(keys) == len(outcome.results) == 2 * 2 * 2 * len(UNIVERSES) * 2
    assert outcome.n_runs == 8 and outcome.n_kept == 0 and not outcome.failures
    for row in outcome.results:
        assert (row.paper_auc is not None) == (row.universe == "head")
        assert row.cpr is None or (row.universe, row.level) == ("qkv", "edge")
        assert row.is_connected is not None if row.level == "edge" else row.shd is None
        assert row.tier and row.metric == "kl" and row.n_inputs == N_INPUTS
        settings = json.loads(row.settings)
        assert (
            settings.pop("code_sha256") == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        )
        assert settings == {"size": 1.0}
        assert len(row.data_digest) == len(row.circuit_digest) == len(row.model_digest) == 64
    assert any(row.cpr is not None for row in outcome.results)


@pytest.mark.slow
def test_a_method_is_run_in_several_orders(cases: list[Case], tmp_path: Path) -> None:
    ordered = dataclasses.replace(drawn("edge"), settings=Nothing(2.0), shuffled=Nothing(3.0))
    settings = BenchSettings({"ordered": ordered, "not": drawn("edge")}, n_inputs=4, orders=3)
    outcome = run_bench(cases[:1], settings, tmp_path)
    assert outcome.n_runs == 3 + 1 and not outcome.failures
    found = {
        row.order: row
        for row in outcome.results
        if (row.method, row.level, row.universe) == ("ordered", "edge", "qkv")
    }
    assert [json.loads(found[order].settings)["size"] for order in range(3)] == [2.0, 3.0, 3.0]
    assert len({row.roc_auc for row in found.values()}) == 3
    assert {row.order for row in outcome.results if row.method == "not"} == {0}
    assert {row.order for row in outcome.scores if row.method == "ordered"} == {0, 1, 2}
    write_tables(tmp_path, outcome.results, outcome.scores)
    assert {row.order for row in read_results(tmp_path)} == {0, 1, 2}
    again = run_bench(cases[:1], settings, tmp_path)
    assert again.n_kept == 4 and without_seconds(again) == without_seconds(outcome)
    with pytest.raises(ValueError, match=r"1 order, got 1 methods, .* 0 orders"):
        BenchSettings({"ordered": ordered}, orders=0)


def test_rows_are_what_the_scores_give(cases: list[Case], finished) -> None:
    _, outcome, _ = finished
    circuit = cases[0].circuit
    assert circuit is not None
    shape = (circuit.n_layers, circuit.n_heads)
    levels: dict[str, Level] = {"edges": "edge", "nodes": "node"}
    for method, level in levels.items():
        own = {"case": "35", "method": method, "seed": 1}
        items = [
            row
            for row in outcome.scores
            if (row.case, row.method, row.seed, row.level) == ("35", method, 1, level)
        ]
        values = np.asarray([row.value for row in items])
        assert (values >= 0).all() and len({row.item for row in items}) == len(items)
        for rank in rank_scores(values, circuit, "qkv", level):
            row = find(outcome.results, **own, universe=rank.universe, level=rank.level)
            facts = (row.roc_auc, row.average_precision, row.p_value, row.n_true)
            assert facts == (rank.roc_auc, rank.average_precision, rank.p_value, rank.n_true)
        edges = values if level == "edge" else edges_from_nodes(values, "qkv", *shape)
        curve = paper_curve(edges, circuit, "qkv")
        for each in levels.values():
            row = find(outcome.results, **own, universe="head", level=each)
            assert row.paper_auc == paper_auc(curve, each)
        found = structure_scores(edges, circuit, "qkv")
        row = find(outcome.results, **own, universe="qkv", level="edge")
        assert (row.f1, row.is_connected) == (found.edges.f1, found.is_connected)
        assert row.shd == round(found.edges.hamming)


@pytest.mark.parametrize(("method", "level"), [("edges", "edge"), ("nodes", "node")])
def test_cpr_is_of_signed_scores_and_cmd_of_absolute_ones(
    cases: list[Case], settings: BenchSettings, finished, method: str, level: Level
) -> None:
    _, outcome, _ = finished
    case, circuit = cases[0], cases[0].circuit
    assert circuit is not None
    (run,) = [
        run
        for run in plan_runs([Subject.of(case, settings.truth)], settings)
        if (run.method, run.seed) == (method, 0)
    ]
    pairs = case.sample(N_INPUTS, seed=0, split="test")
    scores = discover(case.model, pairs, settings.method_of(run), seed=run.method_seed)
    assert (scores.values < 0).any() and (scores.values > 0).any()

    def curve(absolute: bool) -> FaithfulnessCurve:
        values = scores.values
        if level == "node":
            shape = (circuit.n_layers, circuit.n_heads)
            values = edges_from_nodes(values, "qkv", *shape, absolute=absolute)
        return faithfulness_curve(case.model, pairs, values, absolute=absolute)

    own = {"case": "35", "method": method, "seed": 0, "universe": "qkv", "level": "edge"}
    row = find(outcome.results, **own)
    assert row.cpr == pytest.approx(curve(absolute=False).cpr, rel=1e-9)
    assert row.cmd == pytest.approx(curve(absolute=True).cmd, rel=1e-9)
    assert row.cpr != pytest.approx(curve(absolute=True).cpr, rel=1e-3)


def test_it_is_said_how_far_it_is(finished) -> None:
    *_, seen = finished
    assert [status.done for status in seen] == list(range(9))
    assert {status.total for status in seen} == {8}
    assert seen[0].seconds_left is None and seen[-1].seconds_left == 0 and seen[-1].run is None
    assert str(seen[0].run) == "case 35, edges (resample, seed 0)"
    assert all(status.seconds_left > 0 for status in seen[1:-1])


def test_a_second_call_runs_nothing(cases: list[Case], settings: BenchSettings, finished) -> None:
    folder, outcome, _ = finished
    again = run_bench(cases, settings, folder)
    assert again.n_kept == again.n_runs
    assert again == dataclasses.replace(outcome, n_kept=again.n_kept)


def test_the_time_left_is_that_of_runs_without_a_part(
    cases: list[Case], settings: BenchSettings, finished, tmp_path: Path
) -> None:
    folder, *_ = finished
    parts = sorted((folder / PARTS_FOLDER).iterdir())
    (tmp_path / PARTS_FOLDER).mkdir()
    for path in parts[1:]:
        (tmp_path / PARTS_FOLDER / path.name).write_bytes(path.read_bytes())
    statuses: tuple[list[Status], list[Status]] = ([], [])
    for seen in statuses:
        run_bench(cases, settings, tmp_path, seen.append)
        assert [status.done for status in seen] == list(range(9))
    first, second = ([status.seconds_left for status in seen] for seen in statuses)
    n_unknown = first.count(None)
    assert 1 <= n_unknown < 9
    assert first == [None] * n_unknown + [0.0] * (9 - n_unknown)
    assert second == [0.0] * 9


@pytest.mark.slow
def test_what_is_missing_is_made_as_before(
    cases: list[Case], settings: BenchSettings, finished, tmp_path: Path
) -> None:
    folder, outcome, _ = finished
    parts = sorted((folder / PARTS_FOLDER).iterdir())
    (tmp_path / PARTS_FOLDER).mkdir()
    for path in parts[::2]:
        (tmp_path / PARTS_FOLDER / path.name).write_bytes(path.read_bytes())
    # One part is truncated, and one is replaced by another part.
    (tmp_path / PARTS_FOLDER / parts[1].name).write_bytes(parts[1].read_bytes()[:100])
    (tmp_path / PARTS_FOLDER / parts[3].name).write_bytes(parts[2].read_bytes())
    resumed = run_bench(cases, settings, tmp_path)
    assert resumed.n_kept == len(parts[::2])
    assert without_seconds(resumed) == without_seconds(outcome)
    assert resumed.scores == outcome.scores
    written = [
        write_tables(tmp_path / name, without_seconds(each), each.scores)
        for name, each in (("a", outcome), ("b", resumed))
    ]
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]
    assert read_results(tmp_path / "a")


def test_parts_are_of_everything_that_a_run_depends_on(
    cases: list[Case], settings: BenchSettings
) -> None:
    def path(case: Case, changed: BenchSettings, n: int = N_INPUTS, data_seed: int = 0) -> Path:
        ablation, seed = changed.ablations[0], changed.seeds[0]
        run = Run(case.case_id, "edges", ablation, seed)
        pairs = case.sample(n, seed=data_seed)
        return part_path(Path(), facts_of(run, Subject.of(case), pairs, changed))

    first = path(cases[0], settings)
    assert path(cases[0], settings) == first
    assert path(cases[0], dataclasses.replace(settings, seeds=(0, 2))) == first
    assert first.name.startswith("35_edges_resample_0_")
    edges = settings.methods["edges"]
    larger, other = Method(edges.run, Nothing(2.0)), Method(edges.run, Nothing(), "loss")
    paths = [
        path(cases[0], dataclasses.replace(settings, methods={"edges": larger})),
        path(cases[0], dataclasses.replace(settings, methods={"edges": other})),
        path(cases[0], dataclasses.replace(settings, n_inputs=N_INPUTS + 1)),
        path(cases[0], dataclasses.replace(settings, ablations=("zero",))),
        path(cases[0], dataclasses.replace(settings, seeds=(1,))),
        path(cases[0], settings, data_seed=1),
        path(cases[1], settings),
        path(make_model("35", seed=5), settings),
    ]
    assert len({first, *paths}) == 1 + len(paths)


def test_a_method_that_raises_does_not_stop_the_others(cases: list[Case], tmp_path: Path) -> None:
    settings = make_settings(broken=Method(broken, Nothing()), edges=drawn("edge"))
    outcome = run_bench(cases[:1], settings, tmp_path)
    assert {row.method for row in outcome.results} == {"edges"}
    assert [failure.run for failure in outcome.failures] == [
        Run("35", "broken", "resample", seed) for seed in (0, 1)
    ]
    assert outcome.failures[0].message == "ArithmeticError: nothing adds up"
    assert run_bench(cases[:1], settings, tmp_path).n_kept == 2  # Failed runs are repeated.
    (row, *_) = failures_grid([(str(f.run), f.message) for f in outcome.failures]).rows
    assert row == ("case 35, broken (resample, seed 0)", "ArithmeticError: nothing adds up")


def test_cases_of_one_shape_are_run_together() -> None:
    subjects = [Subject.of(make_model(case)) for case in ("21", "36", "24")]
    settings = BenchSettings(choose_methods(["eap", "acdc"]), seeds=(0,), orders=1)
    runs = [(run.case, run.method) for run in plan_runs(subjects, settings)]
    assert runs == [
        *(("21", "eap"), ("24", "eap"), ("21", "acdc"), ("24", "acdc")),
        *(("36", "eap"), ("36", "acdc")),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ablations": ("resample", "nothing")},
            "each ablation to be one of resample.*got nothing",
        ),
        ({"seeds": (0, 0)}, "distinct seeds"),
        ({"seeds": ()}, "distinct seeds"),
        ({"seeds": (-1,)}, "non-negative seeds"),
        ({"methods": {}}, "at least 1 method"),
        ({"n_inputs": 0}, "at least 1 method, 1 input"),
    ],
)
def test_settings_that_make_no_benchmark(changes: dict, message: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        BenchSettings(**changes)


def test_cases_that_make_no_benchmark(cases: list[Case], settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="distinct cases"):
        run_bench([cases[0], cases[0]], settings, tmp_path)
    with pytest.raises(ValueError, match="whose circuit is known"):
        run_bench([dataclasses.replace(cases[0], circuit=None)], settings, tmp_path)
    with pytest.raises(ValueError, match=r"the method to be one of .*got 'magic'"):
        choose_methods(["eap", "magic"])


def test_times_add_up() -> None:
    grid = times_grid([MethodTime("a", 2, 1.0, 2.0, 0.0), MethodTime("b", 1, 6.0, 0.5, 0.5)])
    assert grid.rows == (
        ("b", "1", "6.0", "0.5", "0.5", "70 %"),
        ("a", "2", "1.0", "2.0", "0.0", "30 %"),
        ("all", "3", "7.0", "2.5", "0.5", "100 %"),
    )
    assert times_grid([]).rows == (("all", "0", "0.0", "0.0", "0.0", "0 %"),)


def test_methods_draw_differently_in_each_case_and_seed() -> None:
    runs = [Run(case, "chance", "resample", seed) for case in ("11", "13") for seed in (0, 1)]
    seeds = [run.method_seed for run in runs]
    assert len(set(seeds)) == 4 and all(0 <= seed < 2**31 for seed in seeds)
    assert seeds[0] == Run("11", "eap", "mean", 0).method_seed
