"""Time discovery methods on case 11, cold and warm, beside their peers.

    python -m benchmarks.discovery [--json] [--rounds 3] [--threads 1]

Every method runs in its own process: the first call compiles (JAX's cache on disk is off), and the
next `--rounds` calls are warm. There are two peers: auto-circuit 1.0.1 in the same run, if the
interpreter named by PEER_PYTHON has it or one can be made under `.venv-peer/` (`--no-peers` skips
it), and published times, measured on one thread of another machine. auto-circuit's ACDC is timed at
one threshold and its time is multiplied by our number of thresholds, because it starts over for
each. The peer has one thread, its fastest setting here; `--threads 1` pins both to one processor.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.speed.contest import NotRun
from benchmarks.speed.job import Job
from benchmarks.speed.peers import find_peer

CASE = "11"
UNIVERSE = "qkv-merged"
ROOT = Path(__file__).absolute().parents[1]
THRESHOLDS = 19
# Seconds at 1,000 inputs on one thread, of auto-circuit and, for probing, of upstream's own code.
PUBLISHED = {
    "acdc": THRESHOLDS * 2.9,
    "eap": 0.18,
    "mask-gradient": 0.67,
    "node-probing": 21.3,
    "edge-probing": 74.0,
}
WHAT = {
    "acdc": f"ACDC, {THRESHOLDS} thresholds",
    "eap": "EAP",
    "mask-gradient": "mask gradient, 5 steps",
    "node-probing": "node probing, 300 epochs",
    "edge-probing": "edge probing, 300 epochs",
}
_LONG_SECONDS = 8.0


@dataclasses.dataclass(frozen=True)
class Timing:
    """The times of one method.

    Attributes:
        method: its name in the table of methods.
        what: the method in words.
        cold_seconds: the first call, including compilation but not imports.
        warm_seconds: the median of the later calls.
        peer_seconds: auto-circuit's median in the same run; None where it was not run.
        published_seconds: the published time of a peer.
    """

    method: str
    what: str
    cold_seconds: float
    warm_seconds: float
    peer_seconds: float | None
    published_seconds: float


def measure(
    inputs: int, rounds: int, threads: int | None, peer: str | NotRun, methods: list[str]
) -> list[Timing]:
    """Time every method, and the peer.

    Raises:
        RuntimeError: if one of our processes fails.
    """
    theirs: dict[str, float] = {}
    if isinstance(peer, str):
        theirs = _time_peer(peer, inputs, rounds, threads)
    found = []
    for method in methods:
        command = [sys.executable, "-m", "benchmarks.discovery", "--worker", method]
        options = ["--inputs", str(inputs), "--rounds", str(rounds)]
        options += [] if threads is None else ["--threads", str(threads)]
        environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
        done = subprocess.run(
            [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"Expected times of {method}, got an error: {done.stderr}")
        cold, *warm = json.loads(done.stdout)
        found.append(
            Timing(
                method,
                WHAT[method],
                round(cold, 3),
                round(median(warm), 4),
                round(theirs[method], 3) if method in theirs else None,
                PUBLISHED[method],
            )
        )
        _say(f"{method}: cold {cold:.2f} s, warm {median(warm):.3f} s")
    return found


def as_markdown(timings: list[Timing]) -> str:
    """Format a table of seconds and of the ratios of the peers' times to our warm times."""
    lines = [
        "| method | cold | warm | auto-circuit | ratio | published | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in timings:
        peer = each.peer_seconds
        cells = [
            each.what,
            f"{each.cold_seconds:.1f} s",
            f"{each.warm_seconds:.2f} s",
            *(("-", "-") if peer is None else (f"{peer:.2f} s", _ratio(peer, each))),
            f"{each.published_seconds:.2f} s",
            _ratio(each.published_seconds, each),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(seconds: float, ours: Timing) -> str:
    return f"{seconds / ours.warm_seconds:.2g} x"


def _time_peer(python: str, inputs: int, rounds: int, threads: int | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        _job(inputs).write(Path(folder))
        # On models of this size torch gains nothing from several threads.
        command = [python, "-m", "benchmarks.discovery_peer", folder, "1"]
        done = subprocess.run(
            [*command, str(rounds)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            preexec_fn=None if threads != 1 else _use_one_processor,
        )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        _say(f"auto-circuit: not run: {' '.join(last)}")
        return {}
    seconds = {
        name: median(each) for name, each in json.loads(done.stdout.splitlines()[-1]).items()
    }
    _say(f"auto-circuit: {seconds}")
    return {**seconds, "acdc": THRESHOLDS * seconds["acdc"]}


def _job(inputs: int) -> Job:
    import interpbench_jax as ib

    case = ib.load_case(CASE)
    pairs = case.sample(inputs, seed=0)
    return Job(
        label=f"case {CASE}",
        config=dataclasses.asdict(case.config),
        universe=UNIVERSE,
        edges=(),
        weights=dict(case.weights),
        clean=pairs.input_ids,
        corrupted=pairs.corrupted_input_ids,
    )


def _work(method: str, inputs: int, rounds: int) -> list[float]:
    """Return the seconds of a cold call and of several warm calls."""
    import interpbench_jax as ib
    from interpbench_jax.discovery import METHODS, MaskGradientSettings, Method, discover
    from interpbench_jax.metrics import summed_cross_entropy

    case = ib.load_case(CASE)
    pairs = case.sample(inputs, seed=0)
    chosen = METHODS[method]
    if method == "mask-gradient":
        chosen = Method(chosen.run, MaskGradientSettings(steps=5, reduction="sum"))
    seconds: list[float] = []
    while len(seconds) <= rounds:
        started = time.perf_counter()
        discover(
            case.model,
            pairs,
            chosen,
            metric=summed_cross_entropy if method in ("eap", "mask-gradient") else None,
            universe=UNIVERSE,
        )
        seconds.append(time.perf_counter() - started)
        if len(seconds) > 1 and seconds[-1] > _LONG_SECONDS:
            break
    return seconds


def _use_one_processor() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Read the arguments, measure the methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only JSON")
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3, help="warm calls; one if they are long")
    parser.add_argument("--threads", type=int, choices=(1,), help="default: all processors")
    parser.add_argument("--methods", help="comma-separated methods; default: all")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--worker", choices=tuple(WHAT), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        if arguments.threads == 1:
            _use_one_processor()
        print(json.dumps(_work(arguments.worker, arguments.inputs, arguments.rounds)))
        return
    methods = arguments.methods.split(",") if arguments.methods else list(WHAT)
    peer: str | NotRun = NotRun("auto-circuit", "not requested")
    if not arguments.no_peers:
        peer = find_peer("auto-circuit", os.environ.get("PEER_PYTHON"), _say)
    timings = measure(arguments.inputs, arguments.rounds, arguments.threads, peer, methods)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(each) for each in timings], indent=1))
    else:
        print(as_markdown(timings))


if __name__ == "__main__":
    main()
