"""Time what should be instant: imports, help, loading a packaged case, a null interval.

    python -m benchmarks.startup

Prints the fastest of `--rounds` runs. The first line is the start of Python itself.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import interpbench_jax as ib

COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "import interpbench_dataset.alias": ("-c", "import interpbench_dataset.alias"),
    "import interpbench_jax": ("-c", "import interpbench_jax"),
    "interpbench --help": ("-m", "interpbench_jax.cli", "--help"),
}


def fastest(call: Callable[[], object], rounds: int) -> float:
    """Return the seconds of the fastest call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def run(arguments: tuple[str, ...]) -> None:
    """Run Python in a separate process."""
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[1])


def main() -> None:
    """Measure everything and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each measurement")
    rounds = parser.parse_args().rounds
    for name, arguments in COMMANDS.items():
        print(f"{1000 * fastest(lambda a=arguments: run(a), rounds):8.1f} ms  {name}")
    slowest = max(
        (fastest(lambda c=case_id: ib.load_case(c), rounds), case_id)
        for case_id in ib.packaged_cases()
        if case_id.isdecimal()
    )
    print(f"{1000 * slowest[0]:8.1f} ms  load_case({slowest[1]!r}), the slowest of the RASP cases")
    scores, truth = np.random.default_rng(0).standard_normal(137), np.arange(137) < 9
    seconds = fastest(lambda: ib.scores.null_interval(scores, truth), rounds)
    print(f"{1000 * seconds:8.1f} ms  null_interval")


if __name__ == "__main__":
    main()
