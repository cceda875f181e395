"""A description of the machine and the software that the numbers were measured on."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.process import ROOT


@dataclass(frozen=True)
class Hardware:
    """The machine and the software.

    Attributes:
        cpu: the processor's model.
        cores: the number of processors that this process may use.
        memory_bytes: the machine's memory; None if unknown.
        system: the operating system.
        device: the number and kind of JAX's devices, and its backend.
        versions: the versions of Python and of the relevant packages.
        load: the load average over the minute before the run; None if unknown. A value well above
            0 means that others were using the machine.
        date: the start of the run, in UTC as ISO 8601.
        commit: the working tree's commit, followed by `+` if there are uncommitted changes; None if
            git knows none.
    """

    cpu: str
    cores: int
    memory_bytes: int | None
    system: str
    device: str
    versions: Mapping[str, str]
    load: float | None
    date: str
    commit: str | None


def describe_hardware(facts: Mapping[str, str | float]) -> Hardware:
    """Describe this machine; `facts` are those of a contestant that runs on JAX."""
    count = int(float(facts["devices"]))
    packages = ("interpbench-jax", "jax", "jaxlib", "flax", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return Hardware(
        cpu=_cpu(),
        cores=_cores(),
        memory_bytes=_memory_bytes(),
        system=_system(),
        device=f"{count} x {facts['device']} ({facts['backend']})",
        versions={"python": platform.python_version(), **versions},
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        commit=_commit(),
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _system() -> str:
    for line in _read("/etc/os-release").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            name = value.strip('"')
            return f"{name}, {platform.system()} {platform.machine()}"
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def _commit() -> str | None:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain")
    return commit and f"{commit}{'+' if changes else ''}"
