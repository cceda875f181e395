"""The outcome of a benchmark, however it was run."""

from dataclasses import dataclass, replace

from interpbench_jax.bench.plan import Run
from interpbench_jax.bench.times import MethodTime
from interpbench_jax.report.rows import CurveRow, ResultRow, ScoreRow


@dataclass(frozen=True)
class Failure:
    """A run that raised an error.

    Attributes:
        run: the run.
        message: the error, in one line.
    """

    run: Run
    message: str


@dataclass(frozen=True)
class BenchOutcome:
    """The outcome of a benchmark.

    Attributes:
        results: the rows of `results.parquet`.
        scores: the rows of `scores.parquet`.
        curves: the rows of `curves.parquet`.
        failures: the runs that raised an error.
        times: the times by method, in the order of the settings.
        n_runs: the number of runs that were requested.
        n_kept: the number of them that had been finished before.
    """

    results: tuple[ResultRow, ...]
    scores: tuple[ScoreRow, ...]
    curves: tuple[CurveRow, ...]
    failures: tuple[Failure, ...]
    times: tuple[MethodTime, ...]
    n_runs: int
    n_kept: int

    def sorted_as_tables(self) -> "BenchOutcome":
        """The same outcome with all rows in the order in which the tables have them."""
        return replace(
            self,
            results=tuple(sorted(self.results, key=lambda row: row.key)),
            scores=tuple(sorted(self.scores, key=lambda row: row.key)),
            curves=tuple(sorted(self.curves, key=lambda row: row.key)),
        )
