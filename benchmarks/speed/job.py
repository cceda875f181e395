"""The job of every contestant: a model, inputs and the edges to cut. Needs only NumPy."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from interpbench_jax.universes import UniverseName

ConfigValue = str | int | float | bool | None

_DESCRIPTION_FILE = "job.json"
_ARRAYS_FILE = "arrays.npz"
_WEIGHT = "weights/"


@dataclass(frozen=True)
class Job:
    """One exhaustive sweep of a model's edges.

    Attributes:
        label: a readable name.
        config: the fields of a `TransformerConfig`.
        universe: the edge universe.
        edges: each edge's writer and reader by TransformerLens's names; a head is `name[head]`.
        weights: the weights by TransformerLens's names.
        clean: the clean inputs, `[batch, pos]`.
        corrupted: the inputs that replacements come from, paired with `clean` by row.
    """

    label: str
    config: Mapping[str, ConfigValue]
    universe: "UniverseName"
    edges: tuple[tuple[str, str], ...]
    weights: Mapping[str, np.ndarray]
    clean: np.ndarray
    corrupted: np.ndarray

    @property
    def n_inputs(self) -> int:
        """The number of inputs."""
        return len(self.clean)

    @property
    def patched_forwards(self) -> int:
        """The number of edges times the number of inputs."""
        return len(self.edges) * self.n_inputs

    def write(self, folder: Path) -> Path:
        """Write the job into a folder, for `read_job` in another process."""
        folder.mkdir(parents=True, exist_ok=True)
        description = {
            "label": self.label,
            "config": dict(self.config),
            "universe": self.universe,
            "edges": self.edges,
        }
        (folder / _DESCRIPTION_FILE).write_text(json.dumps(description), encoding="utf-8")
        weights = {f"{_WEIGHT}{name}": array for name, array in self.weights.items()}
        arrays = {"clean": self.clean, "corrupted": self.corrupted, **weights}
        np.savez(folder / _ARRAYS_FILE, allow_pickle=False, **arrays)
        return folder


def read_job(folder: Path) -> Job:
    """Read what `Job.write` wrote."""
    description = json.loads((folder / _DESCRIPTION_FILE).read_text(encoding="utf-8"))
    with np.load(folder / _ARRAYS_FILE) as file:
        arrays = dict(file)
    weights = {
        name.removeprefix(_WEIGHT): array
        for name, array in arrays.items()
        if name.startswith(_WEIGHT)
    }
    return Job(
        label=description["label"],
        config=description["config"],
        universe=description["universe"],
        edges=tuple((src, dst) for src, dst in description["edges"]),
        weights=weights,
        clean=arrays["clean"],
        corrupted=arrays["corrupted"],
    )


@dataclass(frozen=True)
class Options:
    """The options of a contestant's job.

    Attributes:
        threads: 1 to stay on one processor; None for all of them.
        max_bytes: the memory budget of our sweep; None for its default.
        models: the number of models, for a contestant that sweeps several.
        on_mesh: whether our sweep is distributed over all devices.
        device: torch's name of the device that its contestants run on.
    """

    threads: int | None = None
    max_bytes: int | None = None
    models: int = 1
    on_mesh: bool = False
    device: str = "cpu"

    def to_json(self) -> str:
        """Return one line of JSON, which `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Options":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Prepared:
    """A contestant that has loaded its model and its inputs and is ready to run.

    Attributes:
        run: does all the work and returns one effect per edge, or an empty array where it
            measures something else.
        facts: versions, threads and counts.
    """

    run: Callable[[], np.ndarray]
    facts: Mapping[str, str | float]
