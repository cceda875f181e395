"""Kill a benchmark again and again, and see whether it ends with the tables of one left in peace.

    python benchmarks/kill_and_resume_bench.py [--kills 10] [--inputs 100] [--seed 0]

`interpbench bench` runs a few methods on two cases once to its end, then in another folder, in a
process that is killed (SIGKILL) `--kills` times and started again. The moments are drawn by the
seed: the runs are cut in as many stretches as there are kills, and in each a number is drawn; the
kill comes a random while after the folder holds that many finished runs, or after the process
starts if it holds them by then. Prints one JSON object; exits with 1 unless both folders end with
the same results (but for `seconds`, which are measured) and the same bytes of `scores.parquet`.
"""

import argparse
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = "34,36"
METHODS = "chance,clean-corrupted,eap,eap-ig-inputs,exact,exact-nodes,mask-gradient,node-probing"
SEEDS = "0,1,2"
_LONGEST_SLEEP = 1.0
_PATIENCE = 300.0
# Of the runs: so that the last process too is killed before it is done.
_LAST_KILL = 0.9


@dataclasses.dataclass(frozen=True)
class Kill:
    """One process that was killed.

    Attributes:
        seconds: after its start.
        finished: runs that the folder held then.
        new: how many of them are this process's own.
    """

    seconds: float
    finished: int
    new: int


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        identical: whether the kills left no trace in the tables.
        leftovers: files in the disturbed folder that the other lacks.
        runs: of the benchmark.
        inputs: of each run.
        seed: of the moments.
        kills: the kills, in order.
        undisturbed_seconds: that the benchmark takes by itself, start and compilation included.
        seconds: that all of it took.
    """

    identical: bool
    leftovers: list[str]
    runs: int
    inputs: int
    seed: int
    kills: list[Kill]
    undisturbed_seconds: float
    seconds: float


def measure(kills: int, inputs: int, seed: int) -> Report:
    """Run once undisturbed and once with kills, and compare.

    Raises:
        RuntimeError: if a benchmark fails by itself, or is done before it was killed often enough.
    """
    started = time.perf_counter()
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as root:
        undisturbed, folder = Path(root) / "undisturbed", Path(root) / "killed"
        _finish(undisturbed, inputs)
        undisturbed_seconds = time.perf_counter() - started
        runs = _finished(undisturbed)
        killed = []
        for kill in range(kills):
            target = int(runs * _LAST_KILL * (kill + rng.random()) / kills)
            killed.append(_kill_once(folder, inputs, target, rng.uniform(0, _LONGEST_SLEEP)))
        _finish(folder, inputs)
        return Report(
            identical=_tables(folder) == _tables(undisturbed),
            leftovers=sorted(_files(folder) - _files(undisturbed)),
            runs=runs,
            inputs=inputs,
            seed=seed,
            kills=killed,
            undisturbed_seconds=round(undisturbed_seconds, 1),
            seconds=round(time.perf_counter() - started, 1),
        )


def _start(folder: Path, inputs: int) -> subprocess.Popen[str]:
    options = ["--cases", CASES, "--methods", METHODS, "--seeds", SEEDS, "--n", str(inputs)]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "interpbench_jax.cli", "bench", *options),
            *("--no-plots", "--json", "-o", str(folder)),
        ],
        # A program that is compiled once need not be compiled after each kill.
        env={**os.environ, "INTERPBENCH_CACHE": str(folder.parent / "compiled")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(folder: Path, inputs: int) -> None:
    """Let a benchmark run to its end."""
    process = _start(folder, inputs)
    _, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"Expected the bench to finish, got exit {process.returncode}: {err}")


def _kill_once(folder: Path, inputs: int, target: int, sleep: float) -> Kill:
    """Start the benchmark and kill it a while after `target` runs are finished."""
    before = _finished(folder)
    process = _start(folder, inputs)
    began = time.perf_counter()
    # Most of the first seconds go to imports; a process that need not wait may die in any of them.
    patience = _PATIENCE if before < target else 8 * sleep
    while process.poll() is None and time.perf_counter() - began < patience:
        if before < target <= _finished(folder):
            time.sleep(sleep)
            break
        time.sleep(0.01)
    process.kill()
    seconds = time.perf_counter() - began
    _, err = process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(
            f"Expected a benchmark to kill, got one that had ended with {process.returncode}; take "
            f"more --inputs if that is 0: {err}"
        )
    finished = _finished(folder)
    return Kill(round(seconds, 2), finished, finished - before)


def _finished(folder: Path) -> int:
    return len(list((folder / "parts").glob("[!.]*.json")))


def _tables(folder: Path) -> tuple[bytes, bytes]:
    """Both tables as bytes, the results without what was measured in seconds."""
    from interpbench_jax.bench.table import read_results, read_scores, write_tables

    rows = [dataclasses.replace(row, seconds=None) for row in read_results(folder)]
    with tempfile.TemporaryDirectory() as other:
        results, _ = write_tables(other, rows, read_scores(folder))
        return results.read_bytes(), (folder / "scores.parquet").read_bytes()


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def main() -> None:
    """Read the arguments, measure, print; exit with 1 where the kills left a trace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--inputs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    report = measure(arguments.kills, arguments.inputs, arguments.seed)
    print(json.dumps(dataclasses.asdict(report), indent=1))
    sys.exit(not report.identical)


if __name__ == "__main__":
    main()
