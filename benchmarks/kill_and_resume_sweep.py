"""Kill a sweep again and again, and see whether it ends with the bytes of one left in peace.

    python benchmarks/kill_and_resume_sweep.py [--kills 20] [--inputs 100000] [--seed 0]

The edge sweep of case 11 runs once to its end, then in another folder, in a process that is killed
(SIGKILL) `--kills` times and started again. The moments are drawn by the seed: the run is cut in as
many stretches of equally many tasks as there are kills, and in each a task is drawn; the kill comes
a random while after the record shows that many tasks, or after the process starts if it shows them
by then. Prints one JSON object; exits with 1 unless both folders hold the same `effects.parquet`.
Sums are saved about every second, so take inputs enough for a minute.
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

CASE = "11"
_LONGEST_SLEEP = 1.5
_PATIENCE = 600.0
# Of the tasks: so that the last process too is killed before it is done.
_LAST_KILL = 0.95


@dataclasses.dataclass(frozen=True)
class Kill:
    """One process that was killed.

    Attributes:
        seconds: after its start.
        finished: tasks that the record had then.
        new: how many of them are this process's own.
    """

    seconds: float
    finished: int
    new: int


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        identical: whether the kills left no trace in the result.
        leftovers: files in the disturbed folder that the other lacks.
        inputs: of the sweep.
        tasks: of the sweep.
        seed: of the moments.
        kills: the kills, in order.
        undisturbed_seconds: that the sweep takes by itself, start and compilation included.
        seconds: that all of it took.
    """

    identical: bool
    leftovers: list[str]
    inputs: int
    tasks: int
    seed: int
    kills: list[Kill]
    undisturbed_seconds: float
    seconds: float


def measure(kills: int, inputs: int, seed: int) -> Report:
    """Sweep once undisturbed and once with kills, and compare.

    Raises:
        RuntimeError: if a sweep fails by itself, or is done before it was killed often enough.
    """
    started = time.perf_counter()
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as root:
        undisturbed, folder = Path(root) / "undisturbed", Path(root) / "killed"
        _finish(undisturbed, inputs)
        undisturbed_seconds = time.perf_counter() - started
        tasks = int(json.loads((undisturbed / "sweep.json").read_text())["n_tasks"])
        killed = []
        for kill in range(kills):
            target = int(tasks * _LAST_KILL * (kill + rng.random()) / kills)
            killed.append(_kill_once(folder, inputs, target, rng.uniform(0, _LONGEST_SLEEP)))
        _finish(folder, inputs)
        results = [(each / "effects.parquet").read_bytes() for each in (undisturbed, folder)]
        return Report(
            identical=results[0] == results[1],
            leftovers=sorted(_files(folder) - _files(undisturbed)),
            inputs=inputs,
            tasks=tasks,
            seed=seed,
            kills=killed,
            undisturbed_seconds=round(undisturbed_seconds, 1),
            seconds=round(time.perf_counter() - started, 1),
        )


def _start(folder: Path, inputs: int) -> subprocess.Popen[str]:
    # A program that is compiled once need not be compiled after each kill.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, __file__, "--sweep", str(folder), "--inputs", str(inputs)],
        env={**os.environ, **cache},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(folder: Path, inputs: int) -> None:
    """Let a sweep run to its end."""
    process = _start(folder, inputs)
    _, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"Expected the sweep to finish, got exit {process.returncode}: {err}")


def _kill_once(folder: Path, inputs: int, target: int, sleep: float) -> Kill:
    """Start the sweep and kill it a while after the record shows `target` tasks."""
    before = len(_finished(folder))
    process = _start(folder, inputs)
    began = time.perf_counter()
    # Most of the first seconds go to imports; a process that need not wait may die in any of them.
    patience = _PATIENCE if before < target else 4 * sleep
    while process.poll() is None and time.perf_counter() - began < patience:
        if before < target <= len(_finished(folder)):
            time.sleep(sleep)
            break
        time.sleep(0.02)
    process.kill()
    seconds = time.perf_counter() - began
    _, err = process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(
            f"Expected a sweep to kill, got one that had ended with {process.returncode}; take "
            f"more --inputs if that is 0: {err}"
        )
    finished = len(_finished(folder))
    return Kill(round(seconds, 2), finished, finished - before)


def _finished(folder: Path) -> set[int]:
    """The tasks that the record has, whether or not a process is writing to it."""
    import pyarrow.parquet as pq

    tasks: set[int] = set()
    for path in sorted((folder / "parts").glob("part-*.parquet")):
        try:
            tasks.update(pq.ParquetFile(path).read(["task"])["task"].unique().to_pylist())
        except FileNotFoundError:  # It was merged with others just now, whose part comes anew.
            return _finished(folder)
    return tasks


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _sweep(folder: Path, inputs: int) -> None:
    """What the process does."""
    import interpbench_jax as ib

    case = ib.load_case(CASE)
    pairs = case.sample(inputs, seed=0)
    ib.sweep_edges(case.model, pairs.input_ids, pairs.corrupted_input_ids, save_to=folder)


def main() -> None:
    """Read the arguments, measure, print; exit with 1 where the kills left a trace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--inputs", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--sweep", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.sweep is not None:
        _sweep(arguments.sweep, arguments.inputs)
        return
    report = measure(arguments.kills, arguments.inputs, arguments.seed)
    print(json.dumps(dataclasses.asdict(report), indent=1))
    sys.exit(not report.identical)


if __name__ == "__main__":
    main()
