"""Measure how many rows per second a dataset yields as JAX arrays.

    python benchmarks/dataset_arrays.py [rows]

Two peers run beside it: `datasets`' own JAX format, and NumPy arrays made from its lists.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable

import datasets
import jax
import numpy as np
import pyarrow as pa
from datasets.table import InMemoryTable

from interpbench_dataset.arrays import to_jax

WIDTH = 11
COLUMNS = ("input_ids", "corrupted_input_ids", "target", "corrupted_target")
PEER_ROWS = 10_000


def paired_rows(rows: int, *, chunks: int = 1) -> datasets.Dataset:
    """Make an in-memory dataset with a case's row layout: four int32 lists of 11 items each."""
    rng = np.random.default_rng(0)
    values = pa.array(rng.integers(0, 9, rows * WIDTH, np.int32))
    columns = {name: pa.FixedSizeListArray.from_arrays(values, WIDTH) for name in COLUMNS}
    table = pa.table(columns)
    parts = [table.slice(i * rows // chunks, rows // chunks) for i in range(chunks)]
    return datasets.Dataset(InMemoryTable(pa.concat_tables(parts)))


def lists(dataset: datasets.Dataset) -> dict[str, np.ndarray]:
    """Return the columns as NumPy arrays made from Python lists, as a loop over rows sees them."""
    return {name: np.array(rows) for name, rows in dataset[:].items()}


def seconds(call: Callable[[], object], repeats: int = 5) -> tuple[float, float]:
    """Return the seconds of the first call and of the fastest later call."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return times[0], min(times[1:])


def main() -> None:
    """Print a table of cold and warm rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    device = jax.devices()[0]
    print(
        f"{rows:,} rows of 4 x {WIDTH} int32; {device.platform} {device.device_kind}, "
        f"{os.cpu_count()} cores, {platform.machine()}, datasets {datasets.__version__}"
    )
    whole, chunked = paired_rows(rows), paired_rows(rows, chunks=1000)
    shuffled = whole.shuffle(seed=0)
    few = whole.select(range(PEER_ROWS))
    cases: dict[str, tuple[int, Callable[[], object]]] = {
        "to_jax, one chunk": (rows, lambda: to_jax(whole)),
        "to_jax, 1,000 chunks": (rows, lambda: to_jax(chunked)),
        "to_jax, shuffled": (rows, lambda: to_jax(shuffled)),
        "datasets' jax format": (PEER_ROWS, lambda: few.with_format("jax")[:]),
        "arrays of its lists": (PEER_ROWS, lambda: jax.tree.map(jax.numpy.asarray, lists(few))),
    }
    print(f"{'':24} {'rows':>10} {'cold s':>8} {'warm s':>8} {'rows/s warm':>14}")
    for label, (count, call) in cases.items():
        cold, warm = seconds(call)
        print(f"{label:24} {count:>10,} {cold:>8.3f} {warm:>8.3f} {count / warm:>14,.0f}")


if __name__ == "__main__":
    main()
