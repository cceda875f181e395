"""Time methods on a random model of GPT-2 small's shape, against EAP-IG's published code.

    python -m benchmarks.scale [--peer PYTHON --peer-code FOLDER] [--prompts 100] [--json FILE]

Each method runs in a process of its own, which makes two calls: the first compiles. Its memory is
the largest that the process had. The peer is the code of Hanna et al. 2024 (arXiv:2403.17806): the
interpreter needs `transformer-lens<3`, and the folder is `src` of a clone of their repository.
Scores are compared over all edges: the largest difference, as a share of the largest score, and
Spearman's rank correlation of their sizes.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.scale_targets import targets_of
from benchmarks.speed.job import Job, read_job
from benchmarks.speed.workloads import random_weights
from interpbench_jax.config import TransformerConfig
from interpbench_jax.universes import universe

UNIVERSE = "qkv-merged"
METHODS = ("eap", "eap-ig-inputs", "exact-nodes", "exact-edges")
PEER_METHODS = {"eap": "EAP", "eap-ig-inputs": "EAP-IG-inputs"}
SCORES_FILE = "scores-{}.npy"


@dataclass(frozen=True)
class Timing:
    """One method of one contestant.

    Attributes:
        method: the method.
        contestant: `"ours"` or `"EAP-IG"`.
        seconds: the seconds of each call; the first compiles.
        gigabytes: the most memory that the process had.
    """

    method: str
    contestant: str
    seconds: tuple[float, ...]
    gigabytes: float


def make_job(arguments: argparse.Namespace) -> Job:
    """A random model with random prompts."""
    config = TransformerConfig(
        n_layers=arguments.layers,
        n_heads=arguments.heads,
        d_model=arguments.d_model,
        d_head=arguments.d_model // arguments.heads,
        d_mlp=4 * arguments.d_model,
        d_vocab=arguments.vocab,
        d_vocab_out=arguments.vocab,
        n_ctx=arguments.positions,
        act_fn="gelu_new",
        normalization_type="LNPre",
        eps=1e-5,
    )
    rng = np.random.default_rng(0)
    shape = (2, arguments.prompts, arguments.positions)
    clean, corrupted = rng.integers(0, arguments.vocab, shape, np.int32)
    space = universe(UNIVERSE, config.n_layers, config.n_heads)
    return Job(
        label=f"{arguments.layers} layers, d_model {arguments.d_model}",
        config=asdict(config),
        universe=UNIVERSE,
        edges=tuple((str(edge.src), str(edge.dst)) for edge in space.edges),
        weights=random_weights(config, rng),
        clean=clean,
        corrupted=corrupted,
    )


def peak_gigabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def work(folder: Path, method: str, budget: int, max_bytes: int | None, calls: int) -> Timing:
    """Run one of our methods on a job; write its scores and return its times."""
    import interpbench_jax as ib
    from interpbench_jax.sweeps import SweepOptions, sweep_cuts

    job = read_job(folder)
    model = ib.build_model(ib.TransformerConfig(**job.config), job.weights)  # pyright: ignore
    objective = ib.Objective("cross_entropy", targets_of(job))
    pairs = ib.Pairs(job.clean, job.corrupted, objective)
    space = universe(UNIVERSE, model.config.n_layers, model.config.n_heads)

    def run() -> np.ndarray:
        if method == "exact-edges":
            best = np.argsort(-np.abs(np.load(folder / SCORES_FILE.format("eap"))))[:budget]
            cuts = [space.members[space.edges[i]] for i in best]
            options = SweepOptions(max_bytes=max_bytes)
            return np.asarray(sweep_cuts(model, pairs, cuts=cuts, options=options).effects)
        found = ib.discover(model, pairs, method, universe=UNIVERSE, max_bytes=max_bytes)
        return np.asarray(found.values)

    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        scores = run()
        seconds.append(time.perf_counter() - started)
        np.save(folder / SCORES_FILE.format(method), scores)
    return Timing(method, "ours", tuple(seconds), peak_gigabytes())


def compare(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The largest difference as a share of the largest score, and the rank correlation."""
    from scipy.stats import rankdata

    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    ranks = [rankdata(np.abs(scores)) for scores in (ours, theirs)]
    return float(difference), float(np.corrcoef(ranks)[0, 1])


def _in_process(command: list[str]) -> Timing:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    timing = Timing(**found | {"seconds": tuple(found["seconds"])})
    times = ", ".join(f"{each:.1f} s" for each in timing.seconds)
    print(
        f"{timing.contestant}, {timing.method}: {times}; {timing.gigabytes:.1f} GB",
        file=sys.stderr,
        flush=True,
    )
    return timing


def main() -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (
        *(("layers", 12), ("heads", 12), ("d-model", 768), ("vocab", 1_000)),
        *(("prompts", 100), ("positions", 16), ("budget", 100), ("calls", 2)),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--max-bytes", type=int)
    parser.add_argument("--peer", help="the Python of the peer")
    parser.add_argument("--peer-code", help="src of the peer's repository")
    parser.add_argument("--peer-batch", type=int, default=20, help="prompts per batch; default: 20")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        timing = work(
            arguments.folder,
            arguments.worker,
            arguments.budget,
            arguments.max_bytes,
            arguments.calls,
        )
        print(json.dumps(asdict(timing)))
        return 0
    timings, agreements = list[Timing](), dict[str, tuple[float, float]]()
    with tempfile.TemporaryDirectory() as name:
        folder = make_job(arguments).write(Path(name) / "job")
        for method in arguments.methods.split(","):
            command = [sys.executable, "-m", "benchmarks.scale", "--worker", method]
            command += ["--folder", str(folder), "--budget", str(arguments.budget)]
            command += ["--calls", str(arguments.calls)]
            if arguments.max_bytes is not None:
                command += ["--max-bytes", str(arguments.max_bytes)]
            timings.append(_in_process(command))
            if arguments.peer and method in PEER_METHODS:
                peer = [arguments.peer, "-m", "benchmarks.scale_peer", str(folder), method]
                peer += [arguments.peer_code, str(arguments.peer_batch), "1"]
                timings.append(_in_process(peer))
                ours = np.load(folder / SCORES_FILE.format(method))
                theirs = np.load(folder / SCORES_FILE.format(f"peer-{method}"))
                agreements[method] = compare(ours, theirs)
    found = {
        "processors": os.cpu_count(),
        "settings": {key: str(value) for key, value in vars(arguments).items()},
        "timings": [asdict(timing) for timing in timings],
        "agreements": agreements,
    }
    print(json.dumps(found, indent=1))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
