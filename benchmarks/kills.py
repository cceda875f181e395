"""Kill a process at random moments, let it finish, and compare its result with a calm run's."""

import dataclasses
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_PATIENCE = 600.0


@dataclasses.dataclass(frozen=True)
class Work:
    """The work whose processes are killed.

    Attributes:
        start: starts a process that works in a folder and resumes the work that it finds there.
        finished: returns how many pieces of work in a folder are finished.
        same: returns whether two folders of finished work have the same result.
        longest_sleep: the longest time, in seconds, from the target number of pieces to the kill.
        last_kill: the upper bound for the targets of all kills, as a share of the pieces.
    """

    start: Callable[[Path], subprocess.Popen[str]]
    finished: Callable[[Path], int]
    same: Callable[[Path, Path], bool]
    longest_sleep: float
    last_kill: float


@dataclasses.dataclass(frozen=True)
class Kill:
    """One process that was killed.

    Attributes:
        seconds: the time from its start to the kill.
        finished: the number of finished pieces of work in the folder then.
        new: how many of them this process finished.
    """

    seconds: float
    finished: int
    new: int


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of a measurement.

    Attributes:
        identical: whether the result is the same as without kills.
        leftovers: the files and folders that only the disturbed folder contains.
        pieces: the number of pieces of work.
        seed: the random seed for the moments of the kills.
        kills: the kills, in order.
        undisturbed_seconds: the time of the undisturbed work, start and compilation included.
        seconds: the time of the whole measurement.
    """

    identical: bool
    leftovers: list[str]
    pieces: int
    seed: int
    kills: list[Kill]
    undisturbed_seconds: float
    seconds: float


def report_and_exit(work: Work, kills: int, seed: int) -> None:
    """Measure and print one JSON object; exit with 1 if the kills changed the result."""
    report = measure(work, kills, seed)
    print(json.dumps(dataclasses.asdict(report), indent=1))
    sys.exit(not report.identical)


def measure(work: Work, kills: int, seed: int) -> Report:
    """Do the work once undisturbed and once with kills, and compare the results.

    The seed determines the moments: the pieces up to `last_kill` are split into as many ranges as
    there are kills, and a target number of pieces is drawn from each. The kill comes a random time
    after the folder contains that many, or after the process starts if it contains them already.

    Raises:
        RuntimeError: if a process fails by itself, or ends before it is killed.
    """
    started = time.perf_counter()
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as root:
        undisturbed, folder = Path(root) / "undisturbed", Path(root) / "killed"
        _finish(work, undisturbed)
        undisturbed_seconds = time.perf_counter() - started
        pieces = work.finished(undisturbed)
        killed = []
        for kill in range(kills):
            target = int(pieces * work.last_kill * (kill + rng.random()) / kills)
            killed.append(_kill_once(work, folder, target, rng.uniform(0, work.longest_sleep)))
        _finish(work, folder)
        return Report(
            identical=work.same(undisturbed, folder),
            leftovers=sorted(files(folder) - files(undisturbed)),
            pieces=pieces,
            seed=seed,
            kills=killed,
            undisturbed_seconds=round(undisturbed_seconds, 1),
            seconds=round(time.perf_counter() - started, 1),
        )


def _finish(work: Work, folder: Path) -> None:
    process = work.start(folder)
    _, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"Expected the work to finish, got exit {process.returncode}: {err}")


def _kill_once(work: Work, folder: Path, target: int, sleep: float) -> Kill:
    """Start a process and kill it `sleep` seconds after the folder contains `target` pieces."""
    before = work.finished(folder)
    process = work.start(folder)
    began = time.perf_counter()
    # The first seconds are mostly imports; a process whose target is met may die in any of them.
    patience = _PATIENCE if before < target else 6 * sleep
    while process.poll() is None and time.perf_counter() - began < patience:
        if before < target <= work.finished(folder):
            time.sleep(sleep)
            break
        time.sleep(0.02)
    process.kill()
    seconds = time.perf_counter() - began
    _, err = process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(
            "Expected a process to run until it is killed, got one that had ended with "
            f"{process.returncode}; use more --inputs if that is 0: {err}"
        )
    finished = work.finished(folder)
    return Kill(round(seconds, 2), finished, finished - before)


def files(folder: Path) -> set[str]:
    """The paths of all files and folders in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
