"""A contestant's process: it prepares a job, then runs it on every request.

    python -m benchmarks.speed.worker METHOD FOLDER OPTIONS

It reads and writes one JSON object per line. For the peers it is started with another
interpreter, so this file and `job.py` need only NumPy.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import numpy as np

from benchmarks.speed.job import Job, Options, Prepared, read_job
from benchmarks.speed.memory import PeakMemory


def main() -> None:
    """Prepare the job and answer requests."""
    method, folder, options_text = sys.argv[1:]
    options = Options.from_json(options_text)
    # Libraries may print, so the replies have their own channel.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if options.threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    prepared = _prepare(method, read_job(Path(folder)), options)
    _say(replies, {"facts": dict(prepared.facts)})
    for line in sys.stdin:
        request = json.loads(line)
        _say(replies, _run(prepared, float(request["seconds"]), bool(request["effects"])))


def _prepare(method: str, job: Job, options: Options) -> Prepared:
    """Prepare the contestant of this name and import only its libraries."""
    if method == "transformer-lens":
        from benchmarks.speed import peer_transformer_lens

        return peer_transformer_lens.prepare(job, options)
    if method == "auto-circuit":
        from benchmarks.speed import peer_auto_circuit

        return peer_auto_circuit.prepare(job, options)
    from benchmarks.speed import ours

    return ours.METHODS[method](job, options)


def _run(prepared: Prepared, seconds: float, with_effects: bool) -> dict[str, object]:
    """Call until `seconds` have passed, at least once, and return the mean time of a call."""
    calls = 0
    with PeakMemory() as memory:
        started = time.perf_counter()
        while True:
            effects = prepared.run()
            calls += 1
            elapsed = time.perf_counter() - started
            if elapsed >= seconds:
                break
    return {
        "seconds": elapsed / calls,
        "calls": calls,
        "peak_rise_bytes": memory.rise,
        "effects": np.asarray(effects, np.float64).tolist() if with_effects else None,
    }


def _say(replies: TextIO, message: dict[str, object]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
