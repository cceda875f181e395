"""Every command that writes: how to call it, and how to read what it wrote."""

import atexit
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import interpbench_jax as ib
from benchmarks.fire.formats import make_bench, read_published
from interpbench_jax.storage import digest_file
from interpbench_jax.weights import digest_weights

# The fewest pairs of inputs with a meaningful result.
_FEW = 8


@dataclass(frozen=True)
class Command:
    """One command that writes into a folder.

    Attributes:
        arguments: returns the command line's arguments for a folder.
        result: reads the result in a folder: None if there is none yet; raises if it is damaged.
        prepare: writes into the folder what an earlier call would have left there.
        passes: the exit codes of a successful call.
    """

    arguments: Callable[[Path], tuple[object, ...]]
    result: Callable[[Path], object]
    prepare: Callable[[Path], object] = lambda folder: None
    passes: tuple[int, ...] = (0,)


def start(command: Command, folder: Path, cache: Path) -> "subprocess.Popen[str]":
    """Start the command, with its compiled programs stored in `cache`."""
    return subprocess.Popen(
        [sys.executable, "-m", "interpbench_jax.cli", *map(str, command.arguments(folder))],
        env={**os.environ, "INTERPBENCH_CACHE": str(cache), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _case_of(folder: Path) -> object:
    """The config and the digest of a case; None if there is no config, which is written last."""
    if not any(folder.glob("*config.json")) and not any(folder.glob("*.pkl")):
        return None
    case = ib.load_case(folder)
    return case.config, digest_weights(case.weights)


def _certificate_of(folder: Path) -> object:
    try:
        return ib.read_certificate(folder)
    except FileNotFoundError:
        return None


def _sweep_of(folder: Path) -> object:
    from interpbench_jax.storage.store import count_done
    from interpbench_jax.storage.sums import read_table

    result = folder / "effects.parquet"
    if result.is_file():
        return read_table(result).to_pydict()
    count_done(folder)
    return None


def _bench_of(folder: Path) -> object:
    from interpbench_jax.bench.table import read_results, read_scores

    if not (folder / "results.parquet").is_file():
        return None
    rows = [dataclasses.replace(row, seconds=None) for row in read_results(folder)]
    return rows, read_scores(folder)


def _trained(folder: Path) -> object:
    return _case_of(folder / "36") if (folder / "36").is_dir() else None


def _published(folder: Path) -> object:
    if not (folder / "README.md").is_file():
        return None
    read_published(folder)
    return {str(path.relative_to(folder)): digest_file(path) for path in folder.rglob("*.parquet")}


def _make_bench(folder: Path) -> None:
    """Copy one benchmark each time, so that the measured seconds are the same too."""
    shutil.copytree(_bench_once(), folder / "bench")


@cache
def _bench_once() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="interpbench-fire-"))
    atexit.register(shutil.rmtree, folder)
    make_bench(folder, _FEW)
    return folder


def _leaderboard_of(folder: Path) -> object:
    path = folder / "out" / "board.md"
    text = path.read_text() if path.is_file() else None
    if text is not None and not text.endswith("\n"):
        raise ValueError(f"Expected a whole table at {path}, got {text[-80:]!r}.")
    return text


_BENCH = ("--cases", "36", "--methods", "chance,eap,exact", "--n", _FEW, "--no-plots")

COMMANDS: Mapping[str, Command] = {
    "convert": Command(
        lambda out: ("convert", "37", out, "--overwrite"),
        _case_of,
        lambda out: ib.load_case("36").save(out),
    ),
    "convert to upstream": Command(
        lambda out: ("convert", "11", out, "--to", "upstream"), _case_of
    ),
    "certify": Command(
        lambda out: ("certify", "36", "--n", _FEW, "--out", out),
        _certificate_of,
        lambda out: ib.certify(ib.load_case("36"), n=4).save(out),
        (0, 1),
    ),
    "sweep": Command(
        lambda out: ("sweep", "36", "--n", 4_000, "--max-bytes", 2_000_000, "--save-to", out),
        _sweep_of,
    ),
    "bench": Command(lambda out: ("bench", *_BENCH, "-o", out), _bench_of),
    "train": Command(
        lambda out: ("train", "36", "--epochs", 3, "--no-certify", "--out", out),
        _trained,
        passes=(0, 1),
    ),
    "dataset build": Command(lambda out: ("dataset", "build", out), _published),
    "leaderboard": Command(
        lambda out: ("leaderboard", out, "-o", out / "out" / "board.md"),
        _leaderboard_of,
        _make_bench,
    ),
}


def outcome(command: Command, folder: Path) -> Any:
    """The state of the folder: None, a result, or the error that reports damage."""
    try:
        return command.result(folder)
    except (OSError, ValueError) as error:
        return error
