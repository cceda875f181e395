"""Interpreters that have the libraries we compare with, created on demand if none is named."""

import subprocess
import sys
from collections.abc import Callable, Mapping

from benchmarks.speed.contest import NotRun
from benchmarks.speed.process import ROOT

FOLDER = ".venv-peer"
_TRANSFORMER_LENS = (
    "transformer-lens<3",
    "torch==2.13.0",
    "numpy<2",
    "pyarrow<20",
    "datasets<4",
)
_REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    "transformer-lens": _TRANSFORMER_LENS,
    "auto-circuit": ("auto-circuit==1.0.1", *_TRANSFORMER_LENS),
}
_CHECKS = {
    "transformer-lens": "import transformer_lens",
    "auto-circuit": "import auto_circuit.utils.graph_utils",
}


def find_peer(name: str, python: str | None, say: Callable[[str], None]) -> str | NotRun:
    """Find an interpreter that has a library.

    Args:
        name: the library's name.
        python: the interpreter that has it; None to make a virtual environment for it under
            `.venv-peer/`, which is reused.
        say: called with a line before an installation.

    Returns:
        The interpreter, or why there is none.
    """
    if python is not None:
        return python if _works(name, python) else NotRun(name, "the given interpreter lacks it")
    folder = ROOT / FOLDER / name
    own = str(folder / "bin" / "python")
    if (folder / "bin" / "python").exists() and _works(name, own):
        return own
    say(f"{name}: installing into {FOLDER}/{name}")
    commands = (
        [sys.executable, "-m", "venv", str(folder)],
        [own, "-m", "pip", "install", "--quiet", *_REQUIREMENTS[name]],
    )
    for command in commands:
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        if done.returncode:
            return NotRun(name, "it could not be installed")
    return own if _works(name, own) else NotRun(name, "it was installed but cannot be imported")


def _works(name: str, python: str) -> bool:
    try:
        done = subprocess.run([python, "-c", _CHECKS[name]], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0
