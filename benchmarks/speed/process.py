"""The process of one contestant, as controlled by the parent process."""

import json
import os
import re
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np

from benchmarks.speed.job import Options

ROOT = Path(__file__).absolute().parents[2]

_PATIENCE_SECONDS = 900.0
_END_SECONDS = 10.0
_FOLDERS = re.compile(r"(?:/[^\s/'\":,]+)+/")
# A cold call must compile, and on an accelerator the processes share its memory.
_ENVIRONMENT = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


class _Message(TypedDict):
    """A line that a worker writes: first its facts, then one reply per run."""

    facts: Mapping[str, str | float]
    seconds: float
    calls: int
    peak_rise_bytes: int | None
    effects: list[float] | None


class ContestantError(Exception):
    """A contestant could not be started, or did not finish a run."""


@dataclass(frozen=True)
class Entry:
    """A contestant that can be started.

    Attributes:
        name: its name in the results.
        method: the worker's method that it runs.
        folder: the folder of its job.
        options: the job's options.
        python: the interpreter; the default is this process's.
        environment: environment variables to add to this process's.
    """

    name: str
    method: str
    folder: Path
    options: Options = field(default_factory=Options)
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """The result of a run.

    Attributes:
        seconds: the seconds of one call, the mean if there were several.
        calls: the number of calls.
        peak_rise_bytes: the rise in resident memory; None where it cannot be measured.
        effects: one number per edge; empty if no effects were requested.
    """

    seconds: float
    calls: int
    peak_rise_bytes: int | None
    effects: np.ndarray


class Process:
    """A worker that prepares its job immediately and then waits for requests.

    Raises:
        ContestantError: here or in `run`, if the worker does not start, ends or does not answer in
            time.
    """

    def __init__(self, entry: Entry):
        self._log = tempfile.TemporaryFile("w+b")
        command = [entry.python, "-m", "benchmarks.speed.worker", entry.method]
        try:
            self._process = subprocess.Popen(
                [*command, str(entry.folder), entry.options.to_json()],
                cwd=ROOT,
                env={**os.environ, **_ENVIRONMENT, **entry.environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
        except OSError as error:
            self._log.close()
            raise ContestantError(f"its interpreter does not start ({error.strerror})") from None
        try:
            self.facts: Mapping[str, str | float] = self._receive()["facts"]
        except ContestantError:
            self.stop()
            raise

    def run(self, seconds: float, *, effects: bool) -> Reply:
        """Run repeatedly until `seconds` have passed, at least once."""
        assert self._process.stdin is not None
        try:
            request = json.dumps({"seconds": seconds, "effects": effects})
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContestantError(self._last_words()) from None
        reply = self._receive()
        return Reply(
            seconds=reply["seconds"],
            calls=reply["calls"],
            peak_rise_bytes=reply["peak_rise_bytes"],
            effects=np.asarray(reply["effects"] or [], np.float64),
        )

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _receive(self) -> _Message:
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], _PATIENCE_SECONDS)
        if not ready:
            raise ContestantError(f"no answer for {_PATIENCE_SECONDS:.0f} s")
        line = output.readline()
        if not line:
            raise ContestantError(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        """Return why the process ended, in one line that names no folder."""
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        if code < 0:
            return f"it was killed by signal {-code}"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return _FOLDERS.sub("", lines[-1])[:300] if lines else f"it ended with exit code {code}"
