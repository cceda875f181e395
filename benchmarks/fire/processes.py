"""Kill every command that writes, and start two processes of it at once."""

import random
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fire.commands import COMMANDS, Command, outcome, start
from benchmarks.kills import files

_PATIENCE = 600.0
# The most processes per kill, because some end before they are killed.
_MOST_TRIES = 5
# The message of a process that leaves the folder to another.
_IN_USE = "in use"


@dataclass
class Fate:
    """The outcome of the kills and pairs of one command.

    Attributes:
        command: the command's name.
        seconds: the time of an undisturbed call.
        killed: how many processes were killed.
        pairs: how many pairs of processes ran at once.
        turned_away: how many processes reported that the folder was in use.
        found_out: how often a kill left a result that reading reports as damaged.
        defects: descriptions of the defects.
        leftovers: the files and folders at the end that an undisturbed call does not leave.
    """

    command: str
    seconds: float = 0.0
    killed: int = 0
    pairs: int = 0
    turned_away: int = 0
    found_out: int = 0
    defects: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


def disturb(kills: int, pairs: int, seed: int, workers: int = 2) -> list[Fate]:
    """Distribute the kills and the pairs of processes over all commands, and run them."""
    names = list(COMMANDS)
    each = [
        (name, _share(kills, number, len(names)), _share(pairs, number, len(names)))
        for number, name in enumerate(names)
    ]
    with tempfile.TemporaryDirectory() as root, ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda args: disturb_one(Path(root), seed, *args), each))


def _share(total: int, number: int, n: int) -> int:
    return total // n + (number < total % n)


def disturb_one(
    root: Path, seed: int, name: str, kills: int, pairs: int, *, is_warm: bool = True
) -> Fate:
    """Kill processes of one command, and run pairs of them at once.

    Args:
        root: a folder without files of this command; other commands can share it.
        seed: the random seed for the moments of kills and starts.
        name: the command's name.
        kills: how many processes to kill.
        pairs: how many pairs of processes to run at once.
        is_warm: whether to time the command when its programs are already compiled.
    """
    command, fate, rng = COMMANDS[name], Fate(name), random.Random(f"{seed} {name}")
    home = root / name.replace(" ", "-")
    calm, cache = _folder(command, home / "calm"), root / "compiled"
    if is_warm:
        _finish(command, calm, cache)
        calm = _folder(command, home / "calm-again")
    began = time.perf_counter()
    code, text = _finish(command, calm, cache)
    fate.seconds = time.perf_counter() - began
    if code not in command.passes:
        fate.defects.append(f"an undisturbed call ended with {code}: {text[-500:]}")
        return fate
    expected = outcome(command, calm)
    folder = _folder(command, home / "killed")
    allowed = [outcome(command, folder), expected]
    for _ in range(_MOST_TRIES * kills):
        if fate.killed == kills:
            break
        _kill_once(command, folder, cache, rng.uniform(0.3, 1.0) * fate.seconds, fate)
        found = outcome(command, folder)
        if isinstance(found, Exception):
            fate.found_out += 1
        elif found is not None and found not in allowed:
            fate.defects.append("after a kill, the result was neither the old nor the new one")
    _check_end(command, folder, cache, expected, fate)
    fate.leftovers = sorted(files(folder) - files(calm))
    for number in range(pairs):
        folder = _folder(command, home / f"pair-{number}")
        _start_two(command, folder, cache, rng.uniform(0, 0.5) * fate.seconds, expected, fate)
        shutil.rmtree(folder)
    return fate


def _folder(command: Command, folder: Path) -> Path:
    folder.mkdir(parents=True)
    command.prepare(folder)
    return folder


def _finish(command: Command, folder: Path, cache: Path) -> tuple[int, str]:
    process = start(command, folder, cache)
    out, error = process.communicate(timeout=_PATIENCE)
    return process.returncode, out + error


def _kill_once(command: Command, folder: Path, cache: Path, seconds: float, fate: Fate) -> None:
    process, began = start(command, folder, cache), time.perf_counter()
    try:
        out, error = process.communicate(timeout=seconds)
        # A command that finds finished work takes less time.
        fate.seconds = min(fate.seconds, time.perf_counter() - began)
    except subprocess.TimeoutExpired:
        process.kill()
        out, error = process.communicate()
    if process.returncode == -signal.SIGKILL:
        fate.killed += 1
    elif process.returncode not in command.passes:
        fate.defects.append(f"ended with {process.returncode}: {(out + error)[-500:]}")


def _check_end(command: Command, folder: Path, cache: Path, expected: Any, fate: Fate) -> None:
    code, text = _finish(command, folder, cache)
    if code not in command.passes:
        fate.defects.append(f"after the kills, the command ended with {code}: {text[-500:]}")
    elif outcome(command, folder) != expected:
        fate.defects.append("after the kills, the result differed from that of an undisturbed call")


def _start_two(
    command: Command, folder: Path, cache: Path, apart: float, expected: Any, fate: Fate
) -> None:
    first = start(command, folder, cache)
    time.sleep(apart)
    second = start(command, folder, cache)
    fate.pairs += 1
    done = 0
    for process in (first, second):
        out, error = process.communicate(timeout=_PATIENCE)
        text = " ".join((out + error).split())
        if process.returncode in command.passes and "Traceback" not in text:
            done += 1
        elif process.returncode == 2 and _IN_USE in text and "Traceback" not in text:
            fate.turned_away += 1
        else:
            fate.defects.append(f"one of two ended with {process.returncode}: {text[-500:]}")
    if not done:
        fate.defects.append("neither of two processes did the work")
    elif outcome(command, folder) != expected:
        fate.defects.append("the result of two processes differed from that of one")
