"""Time and memory of the exhaustive edge sweep of one case.

    python benchmarks/sweep.py FOLDER [--n 1000] [--max-bytes BYTES]

Prints one JSON object: seconds cold (compilation included) and warm, patched forwards (one edit of
one input) per second, and how far the process's peak resident memory rose while sweeping.
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path


def peak_bytes() -> int:
    """The process's peak resident memory (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--max-bytes", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()

    import interpbench_jax as ib
    from interpbench_jax.inputs import uniform_pairs

    case = ib.load_case(arguments.folder.resolve().name, arguments.folder)
    model = case.model
    seconds: list[float] = []
    one = uniform_pairs(case, 1, 0)
    result = ib.sweep_edges(model, one.clean, one.corrupted)  # starts XLA
    before = peak_bytes()
    for seed in range(arguments.repeats + 1):
        pairs = uniform_pairs(case, arguments.n, seed)
        started = time.perf_counter()
        result = ib.sweep_edges(model, pairs.clean, pairs.corrupted, max_bytes=arguments.max_bytes)
        seconds.append(time.perf_counter() - started)
    warm = statistics.median(seconds[1:])
    print(
        json.dumps(
            {
                "case": case.case_id,
                "edits": len(result.names),
                "inputs": arguments.n,
                "max_bytes": arguments.max_bytes,
                "cold_seconds": round(seconds[0], 3),
                "warm_seconds": round(warm, 3),
                "warm_seconds_best": round(min(seconds[1:]), 3),
                "patched_forwards_per_second": round(len(result.names) * arguments.n / warm),
                "peak_rise_bytes": peak_bytes() - before,
            }
        )
    )


if __name__ == "__main__":
    main()
