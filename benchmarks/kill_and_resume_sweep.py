"""Kill a sweep repeatedly and check that it ends with the bytes of an undisturbed one.

    python -m benchmarks.kill_and_resume_sweep [--kills 20] [--inputs 300000] [--seed 0]

The edge sweep of case 11 runs once undisturbed and once in another folder, in a process that is
killed (SIGKILL) and restarted `--kills` times (`kills.measure`). Prints one JSON object; exits with
1 unless both folders contain the same `effects.parquet`. Sums are saved about every second, so use
enough inputs for a sweep of a minute.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.kills import Work, report_and_exit

CASE = "11"


def _start(folder: Path, inputs: int) -> subprocess.Popen[str]:
    # The compilation cache avoids recompiling after each kill.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    options = ["--sweep", str(folder), "--inputs", str(inputs)]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.kill_and_resume_sweep", *options],
        env={**os.environ, **cache},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finished(folder: Path) -> int:
    """Return how many tasks the record contains, whether or not a process is writing to it."""
    import pyarrow.parquet as pq

    tasks: set[int] = set()
    for path in sorted((folder / "parts").glob("part-*.parquet")):
        try:
            tasks.update(pq.ParquetFile(path).read(["task"])["task"].unique().to_pylist())
        except FileNotFoundError:  # It was just merged into a new part: read again.
            return _finished(folder)
    return len(tasks)


def _same(first: Path, second: Path) -> bool:
    results = [(folder / "effects.parquet").read_bytes() for folder in (first, second)]
    return results[0] == results[1]


def _sweep(folder: Path, inputs: int) -> None:
    """Run the sweep that the parent process kills."""
    import interpbench_jax as ib

    case = ib.load_case(CASE)
    pairs = case.sample(inputs, seed=0)
    ib.sweep_edges(
        case.model,
        pairs.input_ids,
        pairs.corrupted_input_ids,
        options=ib.SweepOptions(save_to=folder),
    )


def main() -> None:
    """Read the arguments, kill and resume the sweep, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--inputs", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0, help="random seed for the kill times")
    parser.add_argument("--sweep", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    inputs = arguments.inputs
    if arguments.sweep is not None:
        _sweep(arguments.sweep, inputs)
        return
    work = Work(lambda folder: _start(folder, inputs), _finished, _same, 1.5, 0.95)
    report_and_exit(work, arguments.kills, arguments.seed)


if __name__ == "__main__":
    main()
