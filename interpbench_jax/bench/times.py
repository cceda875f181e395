"""Tables about the runs of a benchmark: where the time went, and what failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from interpbench_jax.report.grids import Grid, number


@dataclass(frozen=True)
class MethodTime:
    """The time that a method took over all its runs, including those of earlier calls.

    Attributes:
        method: the method's name.
        runs: the number of its runs.
        seconds: the method's own time, without compilation.
        compile_seconds: the time for tracing, lowering, compiling or loading its programs.
        scoring_seconds: the time for scoring its results, compilation included.
    """

    method: str
    runs: int
    seconds: float
    compile_seconds: float
    scoring_seconds: float

    @property
    def total(self) -> float:
        """The total time, in seconds."""
        return self.seconds + self.compile_seconds + self.scoring_seconds

    def plus(self, other: "MethodTime") -> "MethodTime":
        """Return this method's time together with that of other runs of it."""
        return MethodTime(
            self.method,
            self.runs + other.runs,
            self.seconds + other.seconds,
            self.compile_seconds + other.compile_seconds,
            self.scoring_seconds + other.scoring_seconds,
        )


def times_grid(times: Sequence[MethodTime]) -> Grid:
    """Tabulate a benchmark's time by method, the longest first, and for all methods."""
    times = sorted(times, key=lambda each: -each.total)
    every = MethodTime(
        "all",
        sum(each.runs for each in times),
        sum((each.seconds for each in times), 0.0),
        sum((each.compile_seconds for each in times), 0.0),
        sum((each.scoring_seconds for each in times), 0.0),
    )
    rows = [
        (
            each.method,
            str(each.runs),
            number(each.seconds, 1),
            number(each.compile_seconds, 1),
            number(each.scoring_seconds, 1),
            f"{100 * each.total / every.total if every.total else 0:.0f} %",
        )
        for each in (*times, every)
    ]
    return Grid(
        "Where the time went, in seconds",
        ("method", "runs", "running", "compiling", "scoring", "share"),
        tuple(rows),
        "Runs of earlier calls count with the times measured then. Methods on one case share "
        "programs: the first to need one compiles it.",
    )


def failures_grid(failures: Sequence[tuple[str, str]]) -> Grid:
    """Tabulate the failed runs, each with its error."""
    return Grid("Failed", ("run", "error"), tuple(failures), n_left=2)
