"""The speed benchmark: its counts, its fits, its files and its contest; no peers, no long runs."""

import dataclasses
import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import interpbench_jax as ib
from benchmarks.speed.comparisons import Against, Comparison
from benchmarks.speed.contest import NotRun, Runs, alternate
from benchmarks.speed.curves import Curve, Point, Second
from benchmarks.speed.fits import fit_line
from benchmarks.speed.flops import forward_flops, sweep_flops
from benchmarks.speed.hardware import Hardware
from benchmarks.speed.job import Job, Options, read_job
from benchmarks.speed.markdown import render
from benchmarks.speed.measurements import largest_difference, summarise
from benchmarks.speed.plain import sweep_plainly
from benchmarks.speed.process import Entry
from benchmarks.speed.results import FILE, Results
from benchmarks.speed.roofline import Roofline, RooflinePoint
from benchmarks.speed.workloads import packaged_job, random_job
from tests.fixtures import random_weights, tiny_config

HARDWARE = Hardware(
    cpu="a processor",
    cores=2,
    memory_bytes=3 << 30,
    system="a system",
    device="1 x cpu (cpu)",
    versions={"python": "3.11"},
    load=0.5,
    date="2030-01-01T00:00:00+00:00",
    commit="0123456789abcdef+",
)
RUNS = Runs("ours", {"jax": "1"}, (3.0, 5.0, 4.0), (0.5, 0.25, 1.0), 1 << 20, np.ones(137))


def tiny_job() -> Job:
    """Return a job with a model of 2 layers and 4 heads, and 3 inputs."""
    return random_job(4, 3)


def comparison() -> Comparison:
    """Return a row in which ours is twice as fast as a peer, and another peer did not run."""
    job = tiny_job()
    ours = summarise(RUNS, job, 1e9)
    theirs = summarise(dataclasses.replace(RUNS, name="peer", warm_seconds=(1.0,)), job, 1e9)
    return Comparison(
        label=job.label,
        threads=None,
        config=job.config,
        universe=job.universe,
        edges=137,
        inputs=3,
        forward_flops=1,
        peak_flops_per_second=1e9,
        measurements=(ours, theirs),
        against=(Against("peer", 2.0, 4.0, largest_difference(np.ones(2), np.ones(2))),),
        not_run=(NotRun("another", "it does not exist"),),
    )


def curve() -> Curve:
    """Return a curve of three points on a line."""
    x = (1.0, 2.0, 3.0)
    points = tuple(Point(n, "ours", {}, summarise(RUNS, tiny_job(), None)) for n in x)
    return Curve("inputs", "Inputs", "inputs", "rate", points, fit_line(x, x), {}, None, "", ())


def results(**changes: object) -> Results:
    """Return the results of a table and a curve, with some values changed."""
    whole = Results(
        hardware=HARDWARE,
        is_quick=False,
        rounds=3,
        seconds=0.5,
        parts={"table": (comparison(),), "inputs": curve()},
        not_run=(NotRun("devices", "not requested"),),
    )
    return dataclasses.replace(whole, **changes)


class TestPlain:
    def test_equals_the_sweep_engine(self) -> None:
        config = tiny_config(n_layers=1)
        model = ib.build_model(config, random_weights(config))
        rng = np.random.default_rng(1)
        clean, corrupted = rng.integers(0, config.d_vocab, (2, 5, config.n_ctx), np.int32)
        expected = ib.sweep_edges(model, clean, corrupted).effects
        found = sweep_plainly(model, clean, corrupted)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)

    def test_chunks_do_not_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        job = random_job(4, 3, n_layers=1, n_heads=1)
        model = ib.build_model(ib.TransformerConfig.from_dict(dict(job.config)), job.weights)
        whole = sweep_plainly(model, job.clean, job.corrupted)
        monkeypatch.setattr("benchmarks.speed.plain._MOST_INPUTS", 2)
        monkeypatch.setattr("benchmarks.speed.plain._CPU_BYTES", 5_000)
        parts = sweep_plainly(model, job.clean, job.corrupted)
        np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-6)


class TestFlops:
    def test_by_hand(self) -> None:
        config = {
            "n_layers": 1, "n_heads": 2, "d_model": 3, "d_head": 5, "d_mlp": 7, "d_vocab_out": 11,
        }  # fmt: skip
        # Four positions. q, k, v: 3 x 4 x 3 x 10 multiply-adds; results: 4 x 10 x 3.
        projections = 360 + 120
        # Scores: 2 heads x 4 x 4 x 5; weighted values: the same.
        attention = 160 + 160
        mlp = 4 * 3 * 7 + 4 * 7 * 3
        output = 4 * 3 * 11
        assert forward_flops(config, 4) == 2 * (projections + attention + mlp + output)

    def test_layers_add_up(self) -> None:
        config = dict(tiny_job().config)
        one, two, three = (forward_flops(config | {"n_layers": n}, 10) for n in (1, 2, 3))
        assert three - two == two - one > 0

    def test_an_edge_costs_what_depends_on_its_reader(self) -> None:
        config = {
            "n_layers": 2, "n_heads": 2, "d_model": 3, "d_head": 5, "d_mlp": 7, "d_vocab_out": 11,
        }  # fmt: skip
        mlp, output = 4 * 3 * 7 * 2, 4 * 3 * 11
        layer = 4 * (4 * 3 * 10) + 2 * (4 * 4 * 10) + mlp
        # One head's queries and result, its scores and its weighted values.
        head = 2 * (4 * 3 * 5) + 2 * (4 * 4 * 5)

        def flops(*readers: str) -> int:
            return sweep_flops(config, readers, 4)

        assert flops("blocks.1.hook_resid_post") == 2 * output
        assert flops("blocks.1.hook_mlp_in") == 2 * (mlp + output)
        assert flops("blocks.0.hook_mlp_in") == 2 * (mlp + layer + output)
        assert flops("blocks.1.hook_q_input[1]") == 2 * (head + mlp + output)
        # The universe of heads cuts queries, keys and values together.
        assert flops("blocks.1.attn.hook_result[1]") == 2 * (head + 2 * 60 + mlp + output)
        pair = ("blocks.0.hook_v_input[0]", "blocks.1.hook_mlp_out")
        assert flops(*pair) == sum(flops(each) for each in pair)

    def test_other_readers_are_refused(self) -> None:
        with pytest.raises(ValueError, match="Expected edges into heads"):
            sweep_flops(dict(tiny_job().config), ["blocks.0.hook_resid_mid"], 10)


class TestFit:
    def test_exact_line(self) -> None:
        fit = fit_line((1.0, 10.0, 100.0), (2.5, 7.0, 52.0))
        assert fit is not None
        assert (fit.intercept, fit.slope) == pytest.approx((2.0, 0.5))
        assert fit.r_squared == pytest.approx(1.0)

    def test_a_constant_is_explained(self) -> None:
        fit = fit_line((1.0, 2.0, 3.0), (4.0, 4.0, 4.0))
        assert fit is not None and fit.r_squared == pytest.approx(1.0)

    def test_no_line_through_two_points(self) -> None:
        assert fit_line((1.0, 2.0), (1.0, 2.0)) is None


class TestMeasurements:
    def test_medians_rates_and_shares(self) -> None:
        job = tiny_job()
        found = summarise(RUNS, job, 1e9)
        forwards = 137 * 3
        flops = forwards * forward_flops(job.config, 10) / 0.5
        assert (found.cold_seconds, found.warm_seconds, found.warm_seconds_best) == (4.0, 0.5, 0.25)
        assert found.compile_seconds == 3.75
        assert found.patched_forwards_per_second == forwards / 0.5
        assert found.equivalent_flops_per_second == flops
        assert found.share_of_peak == flops / 1e9

    def test_several_models_are_more_work(self) -> None:
        assert summarise(RUNS, tiny_job(), None, models=4).patched_forwards == 4 * 137 * 3

    def test_difference_is_relative_to_the_largest_effect(self) -> None:
        found = largest_difference(np.array([1.0, 4.5]), np.array([1.25, 4.0]))
        assert (found.absolute, found.relative) == (0.5, 0.125)

    def test_difference_of_nothing_is_not_relative(self) -> None:
        assert largest_difference(np.array([1e-9]), np.array([2e-9])).relative is None

    def test_difference_needs_the_same_edges(self) -> None:
        with pytest.raises(ValueError, match="equally many effects"):
            largest_difference(np.zeros(2), np.zeros(3))


class TestMarkdown:
    def test_says_what_was_measured_on_what(self) -> None:
        text = render(results())
        assert "a processor, 2 cores, 3 GiB; a system" in text
        assert "commit 0123456789 with changes" in text
        assert "**2.0 x**" in text and "0.500 (0.25)" not in text and "0.5 (0.25)" in text
        assert "another (random, d_model 4, 3 inputs, 137 edges): not run" in text
        assert "- devices: not run: not requested" in text
        assert "R² = 1.0000" in text

    def test_a_busy_machine_is_owned_up_to(self) -> None:
        busy = dataclasses.replace(HARDWARE, load=1.5)
        assert "Others were using" in render(results(hardware=busy))
        assert "Others were using" not in render(results())

    def test_tables_are_rectangular(self) -> None:
        lines = [line for line in render(results()).splitlines() if line.startswith("|")]
        for width in (10, 6):
            assert [line for line in lines if line.count("|") == width + 1]
        assert {line.count("|") - 1 for line in lines} == {10, 6}

    def test_an_empty_run_is_all_not_run(self) -> None:
        text = render(results(parts={}, not_run=(NotRun("table", "no time"),)))
        assert "|" not in text and "- table: not run: no time" in text


class TestResultsFile:
    def test_is_strict_json(self, tmp_path: Path) -> None:
        content = json.loads(results().write(tmp_path / "new").read_text())
        assert (content["format"], content["version"]) == ("interpbench-speed", 1)
        (row,) = content["parts"]["table"]
        assert row["against"][0]["ratio"] == 2.0
        assert content["parts"]["inputs"]["fit"]["slope"] == pytest.approx(1.0)
        assert content["not_run"] == [{"name": "devices", "reason": "not requested"}]

    def test_a_failed_write_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = results().write(tmp_path).read_text()

        def fail(source: object, destination: object) -> None:
            raise OSError("no space")

        monkeypatch.setattr("interpbench_jax.storage.writing.os.replace", fail)
        with pytest.raises(OSError, match="no space"):
            results(rounds=9).write(tmp_path)
        assert (tmp_path / FILE).read_text() == old
        assert [path.name for path in tmp_path.iterdir()] == [FILE]

    def test_nan_is_not_written(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="JSON"):
            results(seconds=float("nan")).write(tmp_path)
        assert not (tmp_path / FILE).exists()


class TestPlots:
    def test_files_are_written(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        from benchmarks.speed.plots import plot_curve, plot_roofline

        point = RooflinePoint("a job", "ours", 2.0, 1e9, 1e10, 1e9, 0.25, 0.5)
        for second in get_args(Second):
            plot_curve(dataclasses.replace(curve(), second=second), tmp_path)
        plot_roofline(Roofline((point,), ()), tmp_path)
        names = {"inputs.png", "inputs.svg", "roofline.png", "roofline.svg"}
        assert {path.name for path in tmp_path.iterdir()} == names


class TestJob:
    def test_round_trip(self, tmp_path: Path) -> None:
        job = tiny_job()
        again = read_job(job.write(tmp_path))
        assert (again.label, again.config, again.edges) == (job.label, job.config, job.edges)
        np.testing.assert_array_equal(again.corrupted, job.corrupted)
        assert set(again.weights) == set(job.weights)

    def test_edges_are_those_of_the_sweep(self) -> None:
        assert tiny_job().edges[0] == ("hook_embed", "blocks.0.hook_q_input[0]")
        assert len(packaged_job("11", 1, "qkv-merged").edges) == 110

    def test_options_round_trip(self) -> None:
        options = Options(threads=1, max_bytes=5, models=3, on_mesh=True)
        assert Options.from_json(options.to_json()) == options


class TestContest:
    @pytest.mark.slow
    def test_processes_run_in_turn_and_agree(self, tmp_path: Path) -> None:
        folder = random_job(4, 3, n_layers=1, n_heads=1).write(tmp_path)
        entries = [Entry("a", "sweep", folder), Entry("b", "plain", folder)]
        lines: list[str] = []
        found = alternate(entries, 2, 0.0, lines.append)
        a, b = found["a"], found["b"]
        assert isinstance(a, Runs) and isinstance(b, Runs)
        assert len(a.warm_seconds) == len(b.warm_seconds) == 2
        assert largest_difference(a.effects, b.effects).absolute < 1e-5
        assert [line.partition(":")[0] for line in lines] == ["a", "b"] * 3

    def test_one_that_fails_is_not_run_and_names_no_folder(self, tmp_path: Path) -> None:
        folder = tiny_job().write(tmp_path)
        entries = [
            Entry("no such job", "plain", tmp_path / "missing"),
            Entry("no such interpreter", "plain", folder, python="/nowhere/python"),
        ]
        found = alternate(entries, 1, 0.0, lambda line: None)
        for missing in found.values():
            assert isinstance(missing, NotRun)
            assert str(tmp_path) not in missing.reason and "/nowhere" not in missing.reason
