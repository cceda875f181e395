"""The command line's cache of compiled programs between runs, which is JAX's own.

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
# JAX's file names: the program's name, and the SHA-256 of all that it depends on.
_ENTRY = re.compile(r".+-[0-9a-f]{64}-cache")
_ENTRY_OR_TIME = re.compile(r".+-[0-9a-f]{64}-(cache|atime)")
_WRITTEN_BY_NOW_SECONDS = 60

NoCacheOption = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Neither use nor fill the cache of compiled programs.",
        envvar="INTERPBENCH_NO_CACHE",
    ),
]


class Kept(NamedTuple):
    """The contents of a cache.

    Attributes:
        programs: the number of compiled programs.
        n_bytes: their total size.
    """

    programs: int
    n_bytes: int


def cache_folder() -> Path:
    """Return our cache folder: `INTERPBENCH_CACHE`, or one in the user's cache directory.

    Raises:
        RuntimeError: if the user's home directory is not known.
    """
    own = os.environ.get("INTERPBENCH_CACHE")
    return Path(own).expanduser().absolute() if own else _user_caches() / "interpbench-jax/compiled"


def use_cache(no_cache: bool) -> Path | None:
    """Turn on JAX's cache; call this before JAX is imported, because it reads the settings then.

    The user's own JAX settings take precedence. If the folder cannot be used, a warning on
    standard error says so, and the command continues.

    Returns:
        The folder, or None if nothing is cached.
    """
    if "jax" in sys.modules:
        return None  # The process is not ours alone.
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
                f"Warning: compiled programs are not cached ({error}); set INTERPBENCH_CACHE to "
                "another folder, or pass --no-cache.",
                err=True,
            )
            return None
        os.environ[_JAX_FOLDER] = str(folder)
        # With JAX's default, the key of a program depends on the folder's name.
        os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_MOST_BYTES))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    return folder


def measure_cache(folder: Path) -> Kept:
    """Count the programs in a folder; none if there is no such folder."""
    sizes = [path.stat().st_size for path in _files(folder, _ENTRY)]
    return Kept(len(sizes), sum(sizes))


def clear_cache() -> tuple[Path, Kept]:
    """Delete the programs in our folder, and nothing else; return the folder and its contents.

    Raises:
        OSError: if a file cannot be deleted.
        ValueError: if the user's own JAX settings name another folder.
    """
    theirs = os.environ.get(_JAX_FOLDER)
    if theirs:
        raise ValueError(
            f"Expected interpbench's own cache to clear, but {_JAX_FOLDER} is set: {theirs} may "
            "hold other programs."
        )
    folder = cache_folder()
    held = measure_cache(folder)
    for path in _files(folder, _ENTRY_OR_TIME):
        path.unlink(missing_ok=True)
    return folder, held


def _user_caches() -> Path:
    """Return the platform's directory for this user's caches."""
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
    """Refuse a folder that others may have put programs into: cached programs run unchecked.

    Raises:
        PermissionError: if the folder belongs to another user, or others can write to it.
    """
    if os.name == "nt":
        return
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to another user, whose programs are not run")
    if status.st_mode & 0o022:
        raise PermissionError(
            f"others can write to {folder}, and their programs are not run; remove their "
            "permission with chmod go-w"
        )


def _remove_torn(folder: Path) -> None:
    """Remove incomplete programs, left by a killed process or a full disk, that JAX cannot use.

    JAX writes a program's time of last use after the program: without it, one is incomplete.
    """
    for path in _files(folder, _ENTRY):
        used = path.with_name(path.name.removesuffix("cache") + "atime")
        if not used.is_file() and time.time() - path.stat().st_mtime > _WRITTEN_BY_NOW_SECONDS:
            path.unlink(missing_ok=True)
