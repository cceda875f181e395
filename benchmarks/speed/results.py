"""The measurements of one run of the benchmark, and the file that stores them."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.comparisons import Comparison
from benchmarks.speed.contest import NotRun
from benchmarks.speed.curves import Curve
from benchmarks.speed.hardware import Hardware
from benchmarks.speed.roofline import Roofline
from interpbench_jax.storage import write_file

FILE = "results.json"
_FORMAT = "interpbench-speed"
_VERSION = 1

Part = tuple[Comparison, ...] | Curve | Roofline


@dataclass(frozen=True)
class Results:
    """The measurements, part by part.

    Attributes:
        hardware: the machine and the software.
        is_quick: whether the run was a quick one.
        rounds: the requested number of warm runs per contestant.
        seconds: how long short calls were repeated for one number.
        parts: the measured parts by name.
        not_run: parts that were not measured, and why.
    """

    hardware: Hardware
    is_quick: bool
    rounds: int
    seconds: float
    parts: Mapping[str, Part]
    not_run: tuple[NotRun, ...]

    def to_json(self) -> str:
        """Return strict JSON with the keys in a fixed order."""
        content = {"format": _FORMAT, "version": _VERSION, **dataclasses.asdict(self)}
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    def write(self, folder: Path) -> Path:
        """Write `results.json` into a folder atomically; if that fails, the old file stays."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        write_file(path, self.to_json())
        return path
