"""Kill a benchmark repeatedly and check that it ends with the tables of an undisturbed one.

    python -m benchmarks.kill_and_resume_bench [--kills 10] [--inputs 100] [--seed 0]

`interpbench bench` runs a few methods on two cases, once undisturbed and once in another folder, in
a process that is killed (SIGKILL) and restarted `--kills` times (`kills.measure`). Prints JSON;
exits with 1 unless both folders end with the same results (except for the measured `seconds`) and
identical bytes in `scores.parquet`.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.kills import Work, report_and_exit

CASES = "34,36"
METHODS = "chance,clean-corrupted,eap,eap-ig-inputs,exact,exact-nodes,mask-gradient,node-probing"
SEEDS = "0,1,2"


def _start(folder: Path, inputs: int) -> subprocess.Popen[str]:
    options = ["--cases", CASES, "--methods", METHODS, "--seeds", SEEDS, "--n", str(inputs)]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "interpbench_jax.cli", "bench", *options),
            *("--no-plots", "--json", "-o", str(folder)),
        ],
        # The compilation cache avoids recompiling after each kill.
        env={**os.environ, "INTERPBENCH_CACHE": str(folder.parent / "compiled")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finished(folder: Path) -> int:
    return len(list((folder / "parts").glob("[!.]*.json")))


def _same(first: Path, second: Path) -> bool:
    return _tables(first) == _tables(second)


def _tables(folder: Path) -> tuple[bytes, bytes]:
    """Return both tables as bytes, the results without their measured seconds."""
    from interpbench_jax.bench.table import read_results, read_scores, write_tables

    rows = [dataclasses.replace(row, seconds=None) for row in read_results(folder)]
    with tempfile.TemporaryDirectory() as other:
        results, _ = write_tables(other, rows, read_scores(folder))
        return results.read_bytes(), (folder / "scores.parquet").read_bytes()


def main() -> None:
    """Read the arguments, kill and resume the benchmark, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--inputs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="random seed for the kill times")
    arguments = parser.parse_args()
    work = Work(lambda folder: _start(folder, arguments.inputs), _finished, _same, 1.0, 0.9)
    report_and_exit(work, arguments.kills, arguments.seed)


if __name__ == "__main__":
    main()
