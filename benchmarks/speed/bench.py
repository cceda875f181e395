"""The settings, the job files and the contests that all parts of the benchmark share."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.contest import NotRun, Runs, alternate
from benchmarks.speed.job import Job
from benchmarks.speed.process import Entry

PEAK = "matrix product"


@dataclass(frozen=True)
class Bench:
    """The settings of one run of the benchmark.

    Attributes:
        folder: the temporary folder for the jobs' files.
        is_quick: whether to run a small, quick benchmark.
        rounds: the number of warm runs of each contestant.
        seconds: how long short calls are repeated for one number.
        backend: JAX's backend: `"cpu"`, `"gpu"`, ...
        transformer_lens: the interpreter that has TransformerLens, or why there is none.
        auto_circuit: the interpreter that has auto-circuit, or why there is none.
        say: called with a line for each measurement.
    """

    folder: Path
    is_quick: bool
    rounds: int
    seconds: float
    backend: str
    transformer_lens: str | NotRun
    auto_circuit: str | NotRun
    say: Callable[[str], None]

    def write(self, job: Job) -> Path:
        """Write a job's files and return its folder."""
        name = re.sub(r"\W+", "-", f"{job.label} {job.config['n_layers']} {job.universe}")
        folder = self.folder / name
        return folder if folder.is_dir() else job.write(folder)

    def alternate(
        self, title: str, entries: Sequence[Entry], fresh: int = 1
    ) -> dict[str, Runs | NotRun]:
        """Run the contestants in turn; see `contest.alternate`."""

        def progress(line: str) -> None:
            self.say(f"{title}: {line}")

        return alternate(entries, self.rounds, self.seconds, progress, fresh)


def peak_entry(folder: Path) -> Entry:
    """Return the entry of the large matrix product, whose rate counts as the machine's peak."""
    return Entry(PEAK, "multiply", folder)
