"""Kill a process at random moments until it is done, and compare what it leaves."""

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
    """What is killed.

    Attributes:
        start: starts a process that works in a folder and goes on with what it finds there.
        finished: how many pieces of work a folder holds as finished.
        same: whether two folders of finished work hold the same result.
        longest_sleep: how long, in seconds, a process may go on after it was to be killed.
        last_kill: the share of the pieces by which the last process is killed too.
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
        seconds: after its start.
        finished: pieces of work that the folder held then.
        new: how many of them are this process's own.
    """

    seconds: float
    finished: int
    new: int


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        identical: whether the kills left no trace in the result.
        leftovers: files in the disturbed folder that the other lacks.
        pieces: of work.
        seed: of the moments.
        kills: the kills, in order.
        undisturbed_seconds: that the work takes by itself, start and compilation included.
        seconds: that all of it took.
    """

    identical: bool
    leftovers: list[str]
    pieces: int
    seed: int
    kills: list[Kill]
    undisturbed_seconds: float
    seconds: float


def report_and_exit(work: Work, kills: int, seed: int) -> None:
    """Measure, and print one JSON object; exit with 1 where the kills left a trace."""
    report = measure(work, kills, seed)
    print(json.dumps(dataclasses.asdict(report), indent=1))
    sys.exit(not report.identical)


def measure(work: Work, kills: int, seed: int) -> Report:
    """Work once undisturbed and once with kills, and compare.

    The moments are drawn by the seed: the work is cut in as many stretches as there are kills, and
    in each a number of pieces is drawn; the kill comes a random while after the folder holds so
    many, or after the process starts if it holds them by then.

    Raises:
        RuntimeError: if a process fails by itself, or is done before it was killed often enough.
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
    """Start a process and kill it a while after the folder holds `target` pieces."""
    before = work.finished(folder)
    process = work.start(folder)
    began = time.perf_counter()
    # Most of the first seconds go to imports; a process that need not wait may die in any of them.
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
            f"Expected a process to kill, got one that had ended with {process.returncode}; take "
            f"more --inputs if that is 0: {err}"
        )
    finished = work.finished(folder)
    return Kill(round(seconds, 2), finished, finished - before)


def files(folder: Path) -> set[str]:
    """The paths of all files and folders in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
