"""Damage the files of every format again and again, and read them."""

import collections
import contextlib
import io
import json
import math
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.fire.formats import FORMATS
from benchmarks.fire.mutations import damage

# The error types that callers can expect; any other type is a defect.
TYPED = ("ValueError", "FileNotFoundError", "OSError", "UpstreamFormatError", "StaleDataError")
# The maximum length of a message; a longer one is a defect.
MOST_MESSAGE = 4_000


@dataclass
class Outcome:
    """The outcome of the mutations of one format.

    Attributes:
        format: the format's name.
        mutations: how many mutations were read.
        accepted: how many were read without an error.
        errors: how often each type of error was raised.
        defects: the last lines of each traceback that is a defect, by the mutation's number.
        longest_message: the length of the longest message, in characters.
        slowest_seconds: the time of the slowest reading.
        slowest: the number of that mutation.
        growth_mb: how much the process's peak memory grew after the first eleven mutations.
        peak_mb: the process's peak memory, imports and JAX included.
    """

    format: str
    mutations: int = 0
    accepted: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    defects: dict[int, str] = field(default_factory=dict)
    longest_message: int = 0
    slowest_seconds: float = 0.0
    slowest: int = -1
    growth_mb: float = 0.0
    peak_mb: float = 0.0


def fuzz(n: int, seed: int, workers: int = 2) -> list[Outcome]:
    """Read mutations of all formats, in proportion to their shares, one process for each format.

    Raises:
        RuntimeError: if a process fails; the message names the format.
    """
    total = sum(each.share for each in FORMATS.values())
    counts = {name: math.ceil(n * each.share / total) for name, each in FORMATS.items()}
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda name: _in_a_process(name, counts[name], seed), counts))


def _in_a_process(name: str, n: int, seed: int) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fire.fuzz", name, str(n), str(seed)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(
            f"{name}: the process ended with {done.returncode}: {done.stderr[-2000:]}"
        )
    found = json.loads(done.stdout.splitlines()[-1])
    found["defects"] = {int(number): text for number, text in found["defects"].items()}
    return Outcome(**found)


def fuzz_format(name: str, n: int, seed: int) -> Outcome:
    """Read mutations of one format in this process."""
    chosen, outcome = FORMATS[name], Outcome(name)
    errors: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stderr(io.StringIO()):
        good, work = Path(root) / "good", Path(root) / "work"
        good.mkdir()
        chosen.make(good)
        chosen.read(good)  # undamaged files raise no error
        every = sorted(path.relative_to(good) for path in good.rglob("*") if path.is_file())
        contents = {path: (good / path).read_bytes() for path in every}
        files = [path for path in every if good / path in set(good.glob(chosen.files))]
        shutil.copytree(good, work)
        warm = 0.0
        for number in range(n):
            rng = random.Random(f"{seed} {name} {number}")
            path = rng.choice(files)
            (work / path).write_bytes(damage(contents[path], rng))
            chosen.repair(work)
            started = time.perf_counter()
            try:
                chosen.read(work)
                outcome.accepted += 1
            except BaseException as error:
                _note(error, number, outcome, errors)
            seconds = time.perf_counter() - started
            if seconds > outcome.slowest_seconds:
                outcome.slowest_seconds, outcome.slowest = seconds, number
            _restore(work, contents)
            if number == 10:
                warm = _peak_mb()
        outcome.mutations, outcome.errors = n, dict(errors)
        outcome.peak_mb = _peak_mb()
        outcome.growth_mb = outcome.peak_mb - warm if warm else 0.0
    return outcome


def _note(
    error: BaseException, number: int, outcome: Outcome, errors: "collections.Counter[str]"
) -> None:
    kind, message = type(error).__name__, str(error)
    errors[kind] += 1
    outcome.longest_message = max(outcome.longest_message, len(message))
    is_typed = isinstance(error, ValueError | OSError) and type(error).__name__ in TYPED
    if not is_typed or len(message) > MOST_MESSAGE:
        outcome.defects[number] = "".join(traceback.format_exception(error)[-3:])[-1_500:]


def _restore(work: Path, contents: dict[Path, bytes]) -> None:
    """Restore damaged files and remove files that reading created."""
    for path in [each for each in work.rglob("*") if each.is_file()]:
        if path.relative_to(work) not in contents:
            path.unlink()
    for path, data in contents.items():
        target = work / path
        if not target.is_file() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(asdict(fuzz_format(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
