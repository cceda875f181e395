"""The tests' compiled programs: cached on disk for all processes and runs, with bounded memory.

Most of a run's time is spent in XLA, and most programs are used by several tests, by both workers
and by the next run.
"""

import ctypes
import gc
import os
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import jax
import psutil
from jax._src.lru_cache import LRUCache

from interpbench_jax.engine.programs import forget_programs

MOST_BYTES_ON_DISK = 4 << 30
MOST_BYTES_IN_MEMORY = 1_500_000_000
# JAX's file names: the program, and the SHA-256 of everything that it depends on.
_ENTRY = re.compile(r".+-[0-9a-f]{64}-cache")


def tidy(folder: Path) -> None:
    """Free space in the folder: delete the oldest programs and files left half-written by kills.

    Another run may be using the folder, so recent files that are half-written stay.
    """
    written = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # renamed since it was listed
            written[path] = path.stat()
    total = 0
    for path, status in sorted(written.items(), key=lambda each: -each[1].st_mtime):
        total += status.st_size
        is_left_over = not _ENTRY.fullmatch(path.name) and status.st_mtime < time.time() - 3600
        if total > MOST_BYTES_ON_DISK or is_left_over:
            path.unlink(missing_ok=True)


def use(folder: Path) -> None:
    """Make JAX store all programs of this process in the folder, which other processes use too."""
    # JAX writes in place, so another process may read half a program; its lock, which prevents
    # this, comes with a scan of every file before each write.
    LRUCache.put = _put  # pyright: ignore[reportAttributeAccessIssue]
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        # With the default, a program's key depends on the folder's name.
        "jax_persistent_cache_enable_xla_caches": "none",
    }
    for name, value in settings.items():
        jax.config.update(name, value)


def _put(self: LRUCache, key: str, value: bytes) -> None:
    path = Path(str(self.path), f"{key}-cache")
    if not path.exists():
        temporary = path.with_name(f"{os.getpid()}-{threading.get_ident()}")
        temporary.write_bytes(value)
        temporary.replace(path)


def optimize(wanted: bool) -> None:
    """Switch most of XLA's optimizations on, as for users, or off.

    This applies to this process and to those that it starts from now on. Programs in memory were
    compiled with the other setting, so they are dropped.
    """
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0" if wanted else "1"
    if jax.config.read("jax_disable_most_optimizations") == wanted:
        jax.config.update("jax_disable_most_optimizations", not wanted)
        _forget()


_bytes_without_programs = 0


def bound_memory() -> None:
    """Drop all programs from memory once it has grown too much; they are still in the folder."""
    if _resident_bytes() > _bytes_without_programs + MOST_BYTES_IN_MEMORY:
        _forget()


def _resident_bytes() -> int:
    return psutil.Process().memory_info().rss


def _forget() -> None:
    global _bytes_without_programs
    forget_programs()
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
        if trim is not None:
            trim(0)
    _bytes_without_programs = _resident_bytes()
