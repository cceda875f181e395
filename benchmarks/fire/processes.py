"""Kill every command that writes, and start it twice at once."""

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
# Some processes are done before they are killed.
_MOST_TRIES = 5
# What a process may say that leaves the folder to another.
_IN_USE = "in use"


@dataclass
class Fate:
    """What happened to one command.

    Attributes:
        command: its name.
        seconds: that it takes by itself.
        killed: processes that were killed.
        pairs: of processes at once.
        turned_away: processes that said that the folder was in use.
        found_out: how often a kill left a set of files of which the reader says that they do not
            fit one another.
        defects: what should not have been, in words.
        leftovers: files in the folder in the end that an undisturbed call does not leave.
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
    """So many kills, and so many pairs of processes, over all commands."""
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
    """So many kills and pairs of one command.

    Args:
        root: an empty folder, or that of other commands.
        seed: of the moments.
        name: of the command.
        kills: how many processes are killed.
        pairs: how many are started beside another.
        is_warm: whether the command's time is taken when its programs are compiled.
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
        fate.defects.append(f"undisturbed, it ends with {code}: {text[-500:]}")
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
            fate.defects.append("after a kill there is neither the old nor the new result")
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
        # What is there already is not done again.
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
        fate.defects.append(f"after the kills it ends with {code}: {text[-500:]}")
    elif outcome(command, folder) != expected:
        fate.defects.append("after the kills its result is another than without")


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
            fate.defects.append(f"of two, one ended with {process.returncode}: {text[-500:]}")
    if not done:
        fate.defects.append("of two, none did the work")
    elif outcome(command, folder) != expected:
        fate.defects.append("of two, the result is another than of one")
