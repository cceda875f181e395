"""The runs of a benchmark: run and score methods on cases, store the results, and resume."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from interpbench_jax.ablations import ablation_constants
from interpbench_jax.bench.clock import compile_clock
from interpbench_jax.bench.outcome import BenchOutcome, Failure
from interpbench_jax.bench.parts import RunPart, read_part, runs_with_parts, write_part
from interpbench_jax.bench.plan import BenchSettings, Facts, Run, Subject, facts_of, plan_runs
from interpbench_jax.bench.scoring import score_rows, score_run, values_by_universe
from interpbench_jax.bench.shard_plan import BenchPlan
from interpbench_jax.bench.shard_record import ShardRecord, write_record
from interpbench_jax.bench.shards import Shard
from interpbench_jax.bench.shares import plan_share
from interpbench_jax.bench.table import CURVES_FILE, RESULTS_FILE, SCORES_FILE, write_tables
from interpbench_jax.bench.times import MethodTime
from interpbench_jax.case import Case
from interpbench_jax.cases import TaskPairs
from interpbench_jax.discovery import discover
from interpbench_jax.report.rows import CurveRow, ResultRow, ScoreRow
from interpbench_jax.storage import digest_file, lock_folder


@dataclass(frozen=True)
class Status:
    """The progress of a benchmark.

    Attributes:
        run: the next run; None at the end.
        done: the number of runs that are finished or have failed.
        total: the number of all runs.
        seconds_left: an estimate for the runs that the folder has no part of, from the methods'
            times so far; None if there are such runs and nothing has been run.
    """

    run: Run | None
    done: int
    total: int
    seconds_left: float | None


Report = Callable[[Status], None]


def run_bench(
    cases: Sequence[Case],
    settings: BenchSettings,
    folder: Path | str,
    report: Report | None = None,
) -> BenchOutcome:
    """Run every method on every case, or read the runs that an earlier call has finished.

    Each finished run is stored in `folder/parts`. Another call with the same arguments runs only
    what is missing, and its rows are those of an uninterrupted call, except for `seconds`. A part
    is reused if the method's settings, the metric, the weights, the circuit, the inputs, the
    device, the precision and the versions of this package and of JAX are those that it was made
    with; delete the folder to rerun changed code. A run that raises an error is reported, and the
    next call tries it again.

    Args:
        cases: the cases, whose circuits and tasks must be known.
        settings: the settings of the benchmark.
        folder: the folder to store the parts in.
        report: called before every run, and at the end.

    Raises:
        OSError: if a part cannot be written.
        ValueError: if a case's circuit or task is not known, two cases share an id, or another
            process uses the folder.
    """
    bench = _Bench(cases, settings, Path(folder))
    with lock_folder(Path(folder), "this benchmark", removes=True):
        bench.finish_all(report)
    return bench.outcome()


def run_shard(
    cases: Sequence[Case],
    settings: BenchSettings,
    folder: Path | str,
    shard: Shard,
    report: Report | None = None,
    *,
    options: Sequence[str] | None = None,
) -> BenchOutcome:
    """Run one shard of what `run_bench` would run, for `join_shards` to join with the others.

    The shard has a folder of its own, such as `folder/shard-0-of-3`, with its own parts, lock and
    tables, and a record of what it ran. So shards may run at the same time in one folder that
    machines share, or apart, and be copied together. Another call with the same arguments resumes,
    as for `run_bench`, and tries failed runs again. A call with other arguments replaces the record
    and the tables, and keeps the parts.

    Args:
        cases: the cases, as for `run_bench`: all of them, and the same for every shard.
        settings: the settings of the benchmark, likewise.
        folder: the folder of the benchmark.
        shard: which share of the runs (`shares.share_runs`) to run; it may be empty.
        report: called before every run, and at the end.
        options: the options of the command that this call belongs to, other than its folder and
            shard; `join_shards` tells how to run the shards that are missing by them.

    Returns:
        The outcome of this shard's runs.

    Raises:
        ImportError: if pyarrow is not installed.
        OSError: if a file cannot be written.
        ValueError: as for `run_bench`.
    """
    own = Path(folder) / shard.folder_name
    bench = _Bench(cases, settings, own, shard)
    with lock_folder(own, f"shard {shard} of this benchmark", removes=True):
        record = bench.record(shard, options)
        write_record(own, record)
        bench.finish_all(report)
        outcome = bench.outcome()
        write_record(
            own,
            replace(
                record,
                state="finished",
                failures=outcome.failures,
                times=outcome.times,
                tables=_write_tables(own, outcome),
            ),
        )
    return outcome


def _write_tables(folder: Path, outcome: BenchOutcome) -> dict[str, str]:
    """Write the tables of a shard, and return their digests; there are none without results."""
    paths = [folder / name for name in (RESULTS_FILE, SCORES_FILE, CURVES_FILE)]
    if outcome.results:
        write_tables(folder, outcome.results, outcome.scores, outcome.curves)
    else:
        for path in paths:
            path.unlink(missing_ok=True)
    return {path.name: digest_file(path) for path in paths if path.exists()}


class _Bench:
    """A benchmark in progress, or one shard of it."""

    def __init__(
        self,
        cases: Sequence[Case],
        settings: BenchSettings,
        folder: Path,
        shard: Shard | None = None,
    ):
        if not cases or len({case.case_id for case in cases}) != len(cases):
            raise ValueError(
                f"Expected distinct cases, at least one, got {[case.case_id for case in cases]}."
            )
        self._subjects = {case.case_id: Subject.of(case, settings.truth) for case in cases}
        self._settings = settings
        self._folder = folder
        subjects = list(self._subjects.values())
        self._runs = (
            plan_runs(subjects, settings)
            if shard is None
            else plan_share(subjects, settings, shard)
        )
        # Those that are probably to be run; others only take the time to read their parts.
        self._awaited = set(self._runs).difference(runs_with_parts(folder, self._runs))
        self._n_done = 0
        self._spent: dict[str, list[float]] = {}
        self._results: list[ResultRow] = []
        self._scores: list[ScoreRow] = []
        self._curves: list[CurveRow] = []
        self._parts: list[tuple[Run, RunPart]] = []
        self._failures: list[Failure] = []
        self._n_kept = 0
        self._pairs: dict[tuple[str, int], TaskPairs] = {}
        self._constants: dict[tuple[str, int], np.ndarray] = {}

    def finish_all(self, report: Report | None) -> None:
        """Finish every run, and report the progress before each and at the end."""
        for run in self._runs:
            if report is not None:
                report(self._status(run))
            self._finish(run)
        if report is not None:
            report(self._status(None))

    def record(self, shard: Shard, options: Sequence[str] | None) -> ShardRecord:
        """Return the record of a shard that is about to run."""
        plan = BenchPlan.of(list(self._subjects.values()), self._settings)
        return ShardRecord(
            shard,
            plan,
            tuple(plan.places[run] for run in self._runs),
            None if options is None else tuple(options),
        )

    def _finish(self, run: Run) -> None:
        """Read a run's part, or run it and write the part."""
        subject, started = self._subjects[run.case], time.perf_counter()
        try:
            pairs = self._sample(run)
            facts = facts_of(run, subject, pairs, self._settings)
            part = read_part(self._folder, facts)
            if part is not None:
                self._n_kept += 1
            else:
                part = self._make(facts, subject, pairs)
                self._spent.setdefault(run.method, []).append(time.perf_counter() - started)
        except OSError:
            raise
        except Exception as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            self._failures.append(Failure(run, message))
        else:
            self._results += part.results
            self._curves += part.curves
            self._scores += score_rows(facts, subject.circuit, part.values)
            self._parts.append((run, part))
        self._awaited.discard(run)
        self._n_done += 1

    def _status(self, run: Run | None) -> Status:
        """Return the progress, before a run or at the end."""
        return Status(run, self._n_done, len(self._runs), self._estimate())

    def outcome(self) -> BenchOutcome:
        """Return the outcome."""
        times = []
        for method in self._settings.methods:
            own = [part for run, part in self._parts if run.method == method]
            times.append(
                MethodTime(
                    method,
                    len(own),
                    sum((part.seconds for part in own), 0.0),
                    sum((part.compile_seconds for part in own), 0.0),
                    sum((part.scoring_seconds for part in own), 0.0),
                )
            )
        return BenchOutcome(
            tuple(self._results),
            tuple(self._scores),
            tuple(self._curves),
            tuple(self._failures),
            tuple(times),
            len(self._runs),
            self._n_kept,
        )

    def _make(self, facts: Facts, subject: Subject, pairs: TaskPairs) -> RunPart:
        run, clock = facts.run, compile_clock()
        ablation = self._ablation(run, subject, pairs)
        started = time.perf_counter()
        scores = discover(
            subject.case.model,
            pairs,
            self._settings.method_of(run),
            ablation=ablation,
            universe=facts.universe,
            seed=run.method_seed,
        )
        found = time.perf_counter()
        compiling = clock.seconds_since(started)
        seconds = found - started - compiling
        scored = score_run(facts, subject, pairs, scores, ablation)
        values = values_by_universe(scores, subject.circuit)
        part = RunPart(
            results=tuple(replace(row, seconds=seconds) for row in scored.results),
            values={
                "edge": values[facts.universe, "edge"],
                "node": values[facts.universe, "node"],
            },
            curves=scored.curves,
            seconds=seconds,
            compile_seconds=compiling,
            scoring_seconds=time.perf_counter() - found,
        )
        write_part(self._folder, facts, part)
        return part

    def _ablation(
        self, run: Run, subject: Subject, pairs: TaskPairs
    ) -> Literal["resample", "mean", "zero"] | np.ndarray:
        """Return a run's ablation; constants of `"optimal"` are learned once for all methods."""
        if run.ablation != "optimal":
            return run.ablation
        key = (run.case, run.seed)
        if key not in self._constants:
            self._constants[key] = ablation_constants(subject.case.model, pairs)
        return self._constants[key]

    def _sample(self, run: Run) -> TaskPairs:
        """Return a run's inputs, which are cached until a model of another shape comes."""
        key = (run.case, run.seed)
        if key not in self._pairs:
            shape = self._subjects[run.case].case.config
            for other in list(self._pairs):
                if self._subjects[other[0]].case.config != shape:
                    del self._pairs[other]
                    self._constants.pop(other, None)
            case = self._subjects[run.case].case
            n_inputs = self._settings.n_inputs or case.task.bench_inputs
            self._pairs[key] = case.sample(n_inputs, seed=run.seed, split="test")
        return self._pairs[key]

    def _estimate(self) -> float | None:
        """The seconds left, by each method's mean so far, or else by the overall mean."""
        if not self._awaited:
            return 0.0
        every = [seconds for own in self._spent.values() for seconds in own]
        if not every:
            return None
        overall = sum(every) / len(every)
        means = {method: sum(own) / len(own) for method, own in self._spent.items()}
        return sum(means.get(run.method, overall) for run in self._awaited)
