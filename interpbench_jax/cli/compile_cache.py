"""Where the command line keeps compiled programs from one run to the next; JAX's own cache does.

Importing the library never turns it on: only commands do, in a process of their own.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

_JAX_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_MOST_BYTES = 1 << 30
# As JAX names its files: the program, the SHA-256 of all that it depends on.
_ENTRY = re.compile(r".+-[0-9a-f]{64}-cache")
_ENTRY_OR_TIME = re.compile(r".+-[0-9a-f]{64}-(cache|atime)")
_WRITTEN_BY_NOW_SECONDS = 60

NoCacheOption = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Compile everything anew and keep nothing.",
        envvar="INTERPBENCH_NO_CACHE",
    ),
]


class Kept(NamedTuple):
    """What a cache holds.

    Attributes:
        programs: how many compiled programs.
        n_bytes: what they take.
    """

    programs: int
    n_bytes: int


def cache_folder() -> Path:
    """Our folder: `INTERPBENCH_CACHE`, or one in the user's cache directory.

    Raises:
        RuntimeError: if the user's home is not known.
    """
    own = os.environ.get("INTERPBENCH_CACHE")
    return Path(own).expanduser().absolute() if own else _user_caches() / "interpbench-jax/compiled"


def use_cache(no_cache: bool) -> Path | None:
    """Have JAX keep what it compiles; to be called before it is imported, as it reads this then.

    A user's own settings of JAX win. Where the folder cannot be written, a warning on standard
    error says so, and work goes on.

    Returns:
        The folder, or None where nothing is kept.
    """
    if "jax" in sys.modules:
        return None  # The process is not ours.
    if no_cache:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        return None
    theirs = os.environ.get(_JAX_FOLDER)
    if theirs:
        folder = Path(theirs)
    else:
        try:
            folder = cache_folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(f"{folder} cannot be written")
            _check_owner(folder)
            _remove_torn(folder)
        except (OSError, RuntimeError) as error:
            typer.echo(
                f"Warning: compiled programs are not kept ({error}); INTERPBENCH_CACHE names "
                "another folder, --no-cache does without.",
                err=True,
            )
            return None
        os.environ[_JAX_FOLDER] = str(folder)
        # Its default makes the folder's name a part of what a program depends on.
        os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_MOST_BYTES))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    return folder


def measure_cache(folder: Path) -> Kept:
    """What a folder holds; nothing where there is none."""
    sizes = [path.stat().st_size for path in _files(folder, _ENTRY)]
    return Kept(len(sizes), sum(sizes))


def clear_cache() -> tuple[Path, Kept]:
    """Delete the programs in our folder, and nothing else that is there: the folder, what it held.

    Raises:
        OSError: if a file cannot be deleted.
        ValueError: if programs are kept in a folder of the user's.
    """
    theirs = os.environ.get(_JAX_FOLDER)
    if theirs:
        raise ValueError(
            f"Expected a cache of our own to clear, but {_JAX_FOLDER} is set: {theirs} may hold "
            "programs of others."
        )
    folder = cache_folder()
    held = measure_cache(folder)
    for path in _files(folder, _ENTRY_OR_TIME):
        path.unlink(missing_ok=True)
    return folder, held


def _user_caches() -> Path:
    """The directory where this user's programs keep what they can make again."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if Path(chosen).is_absolute():
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _files(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if pattern.fullmatch(path.name) and path.is_file()]


def _check_owner(folder: Path) -> None:
    """Refuse programs that somebody else may have put there: they are run as they are.

    Raises:
        PermissionError: if the folder is another user's, or others can write to it.
    """
    if os.name == "nt":
        return
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to another user, whose programs are not run")
    if status.st_mode & 0o022:
        raise PermissionError(
            f"others can write to {folder}, and their programs are not run; chmod go-w makes it "
            "yours alone"
        )


def _remove_torn(folder: Path) -> None:
    """Remove programs that a process or a full disk cut off, which JAX would stumble over.

    It writes when a program was last used after the program itself.
    """
    for path in _files(folder, _ENTRY):
        used = path.with_name(path.name.removesuffix("cache") + "atime")
        if not used.is_file() and time.time() - path.stat().st_mtime > _WRITTEN_BY_NOW_SECONDS:
            path.unlink(missing_ok=True)
