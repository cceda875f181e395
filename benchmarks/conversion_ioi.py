"""Measure the time and memory that converting a model of IOI's size from upstream's files takes.

    python -m benchmarks.conversion_ioi [--rounds 3] [--python VENV/bin/python] [--json]

The program makes the file: 6 layers, d_model 64 and GPT-2's 50,257 tokens, float32, with seeded
random weights (42 MB, like `ioi` and `ioi_next_token`). Every round of every method runs in its own
process: imports are done before the clock starts, and the file is in the system's cache. Memory is
the peak resident memory minus that at the start; "kept" is the size of the final arrays. With
`--python`, an interpreter that has torch, `torch.load` is a peer: its tensors are copied to owned
arrays.
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.speed.memory import PeakMemory

if TYPE_CHECKING:
    import numpy as np

    from interpbench_jax.case import Case

ROOT = Path(__file__).absolute().parents[1]
D_VOCAB = 50257
KEPT_TOKENS = 113
WAYS = {
    "load": "load_case, all tokens",
    "keep": f"convert_case, {KEPT_TOKENS} tokens kept",
    "keep-positions": f"convert_case, {KEPT_TOKENS} tokens and 16 positions kept",
}
PEER_WAYS = {
    "torch": "torch.load, to NumPy",
    "torch-mmap": "torch.load(mmap=True), to NumPy",
}
_WEIGHTS_FILE = "ll_model.pth"
_MEGABYTE = 1e6


@dataclasses.dataclass(frozen=True)
class Measured:
    """The cost of one conversion method.

    Attributes:
        way: the method in words.
        seconds: the median over the rounds.
        peak_bytes: the largest rise in resident memory; None where it cannot be measured.
        kept_bytes: the size of the arrays that it returns.
    """

    way: str
    seconds: float
    peak_bytes: int | None
    kept_bytes: int


def make_case(seed: int) -> "Case":
    """Make a model of IOI's shape with random weights."""
    import numpy as np

    from interpbench_jax.case import Case
    from interpbench_jax.config import TransformerConfig
    from interpbench_jax.weights import weight_shapes

    config = TransformerConfig(
        n_layers=6,
        n_heads=4,
        d_model=64,
        d_head=16,
        d_mlp=3072,
        d_vocab=D_VOCAB,
        d_vocab_out=D_VOCAB,
        n_ctx=1024,
        act_fn="gelu_new",
        normalization_type="LNPre",
    )
    rng = np.random.default_rng(seed)
    weights = {
        name: rng.standard_normal(shape, np.float32) / 8
        for name, shape in weight_shapes(config).items()
    }
    return Case("synthetic", config, weights, None)


def _prepare(way: str, folder: Path) -> Callable[[], Mapping[str, "np.ndarray"]]:
    """Import what is needed and return the timed call, which turns files into arrays by name."""
    if way.startswith("torch"):
        import torch  # pyright: ignore[reportMissingImports]

        mapped = way == "torch-mmap"

        def load_by_torch() -> Mapping[str, "np.ndarray"]:
            state = torch.load(folder / _WEIGHTS_FILE, weights_only=True, mmap=mapped)
            return {name: tensor.numpy().copy() for name, tensor in state.items()}

        return load_by_torch
    from interpbench_conversion.convert import convert_case
    from interpbench_conversion.upstream_files import find_upstream_files
    from interpbench_jax import load_case
    from interpbench_jax.cases import CASES

    assert CASES  # `load_case` imports them only when it is called
    if way == "load":
        return lambda: load_case("synthetic", folder).weights
    from interpbench_conversion.vocabulary import KeptTokens

    token_ids = tuple(range(0, D_VOCAB, D_VOCAB // KEPT_TOKENS))[:KEPT_TOKENS]
    n_ctx = 16 if way == "keep-positions" else None
    kept = KeptTokens(token_ids, tuple(map(str, token_ids)), n_ctx=n_ctx)
    files = find_upstream_files(folder)
    assert files is not None  # this program wrote them
    return lambda: convert_case(files, "synthetic", keep_tokens=kept).weights


def run_worker(way: str, folder: Path) -> None:
    """Run one method once and print its seconds and bytes as JSON."""
    call = _prepare(way, folder)
    with PeakMemory() as memory:
        started = time.perf_counter()
        weights = call()
        seconds = time.perf_counter() - started
    kept = sum(array.nbytes for array in weights.values())
    print(json.dumps({"seconds": seconds, "peak_bytes": memory.rise, "kept_bytes": kept}))


def measure(way: str, label: str, python: str, folder: Path, rounds: int) -> Measured:
    """Measure all rounds of one method, each in its own process.

    Raises:
        subprocess.CalledProcessError: if a round fails.
    """
    command = [python, "-m", "benchmarks.conversion_ioi", "--worker", way, str(folder)]
    results = []
    for _ in range(rounds):
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=600)
        results.append(json.loads(done.stdout))
    peaks = [result["peak_bytes"] for result in results if result["peak_bytes"] is not None]
    return Measured(
        way=label,
        seconds=median(result["seconds"] for result in results),
        peak_bytes=max(peaks, default=None),
        kept_bytes=results[0]["kept_bytes"],
    )


def main() -> None:
    """Write the file, measure every method and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--python", type=Path, help="an interpreter that has torch and numpy")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        run_worker(arguments.worker[0], Path(arguments.worker[1]))
        return
    if arguments.rounds < 1:
        parser.error("expected at least one round")
    from interpbench_conversion.to_torch import write_upstream

    with tempfile.TemporaryDirectory() as temporary:
        folder = write_upstream(make_case(arguments.seed), Path(temporary) / "synthetic")
        size = (folder / _WEIGHTS_FILE).stat().st_size
        jobs = [(way, WAYS[way], sys.executable) for way in arguments.ways]
        if arguments.python:
            # Not resolved: a virtual environment's interpreter is a link.
            peer = str(arguments.python.absolute())
            jobs += [(way, label, peer) for way, label in PEER_WAYS.items()]
        measured = [
            measure(way, label, python, folder, arguments.rounds) for way, label, python in jobs
        ]
    hardware = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    if arguments.json:
        results = [dataclasses.asdict(one) for one in measured]
        print(json.dumps({"hardware": hardware, "file_bytes": size, "results": results}, indent=1))
        return
    print(f"{size / _MEGABYTE:.1f} MB, median of {arguments.rounds} processes; {hardware}")
    print(f"{'':50} {'seconds':>8} {'peak MB':>8} {'kept MB':>8}")
    for one in measured:
        peak = "-" if one.peak_bytes is None else f"{one.peak_bytes / _MEGABYTE:.1f}"
        print(f"{one.way:50} {one.seconds:>8.3f} {peak:>8} {one.kept_bytes / _MEGABYTE:>8.1f}")


if __name__ == "__main__":
    main()
