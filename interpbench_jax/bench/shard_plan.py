"""The plan that all shards of a benchmark share, and how two plans differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np

from interpbench_jax.bench.plan import BenchSettings, Run, Subject, plan_runs, settings_as_json
from interpbench_jax.cases import TruthName
from interpbench_jax.names import AblationName
from interpbench_jax.texts import count
from interpbench_jax.version import __version__


@dataclass(frozen=True)
class CaseDigests:
    """What the results on a case depend on.

    Attributes:
        model: the digest of the weights.
        circuit: the digest of the truth.
        precision: the dtype of the model.
    """

    model: str
    circuit: str
    precision: str


@dataclass(frozen=True)
class BenchPlan:
    """All runs of a benchmark, and what their results depend on: the same for all its shards.

    The kind of device is not part of it, so that shards may run on several; every row of the
    results names its own.

    Attributes:
        package_version: the version of interpbench-jax.
        jax_version: the version of JAX.
        truth: the name of the truth that cases are scored against.
        n_inputs: the number of input pairs; None for each task's own.
        methods: the settings of each method as JSON objects: those of the first edge order and,
            if the method is run in several, those of the others.
        cases: the digests of each case.
        runs: the runs, in the order in which one machine runs them.
    """

    package_version: str
    jax_version: str
    truth: TruthName
    n_inputs: int | None
    methods: Mapping[str, tuple[str, ...]]
    cases: Mapping[str, CaseDigests]
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, subjects: Sequence[Subject], settings: BenchSettings) -> "BenchPlan":
        """Return the plan of a benchmark."""
        methods = {}
        for method in settings.methods:
            orders = settings.orders_of(method)[:2]
            runs = (Run("", method, settings.ablations[0], 0, order) for order in orders)
            methods[method] = tuple(settings_as_json(settings.method_of(run)) for run in runs)
        return cls(
            package_version=__version__,
            jax_version=jax.__version__,
            truth=settings.truth,
            n_inputs=settings.n_inputs,
            methods=methods,
            cases={subject.case.case_id: _digests(subject) for subject in subjects},
            runs=tuple(plan_runs(subjects, settings)),
        )

    @cached_property
    def places(self) -> dict[Run, int]:
        """The place of each run in the plan."""
        return {run: place for place, run in enumerate(self.runs)}

    @property
    def ablations(self) -> tuple[AblationName, ...]:
        """The ablations, in the order of the settings."""
        return tuple(dict.fromkeys(run.ablation for run in self.runs))

    def differences(self, other: "BenchPlan") -> list[str]:
        """Describe how another plan differs from this one; nothing if they are equal."""
        values = (
            ("interpbench-jax", self.package_version, other.package_version),
            ("JAX", self.jax_version, other.jax_version),
            ("truth", self.truth, other.truth),
            ("number of inputs", self.n_inputs, other.n_inputs),
        )
        found = [
            f"{name} {theirs} instead of {own}" for name, own, theirs in values if own != theirs
        ]
        found += _differences("case", self.cases, other.cases, "another model or circuit")
        found += _differences("method", self.methods, other.methods, "other settings or code")
        own, theirs = set(self.runs), set(other.runs)
        if not found and own != theirs:
            found = [
                f"{count(len(runs), 'run')} {which}, such as {next(iter(runs))}"
                for which, runs in (
                    ("more", dict.fromkeys(run for run in other.runs if run not in own)),
                    ("fewer", dict.fromkeys(run for run in self.runs if run not in theirs)),
                )
                if runs
            ]
        if not found and self.runs != other.runs:
            found = ["the same runs in another order"]
        return found


def _digests(subject: Subject) -> CaseDigests:
    precision = str(np.dtype(subject.case.model.dtype))
    return CaseDigests(subject.model_digest, subject.circuit_digest, precision)


def _differences(
    what: str, own: Mapping[str, object], theirs: Mapping[str, object], changed: str
) -> list[str]:
    return [
        *(f"no {what} {name}" for name in own if name not in theirs),
        *(f"{what} {name} as well" for name in theirs if name not in own),
        *(
            f"{changed} of {what} {name}"
            for name in own
            if name in theirs and own[name] != theirs[name]
        ),
    ]
