"""The plan of a benchmark: its runs, their order, and what each depends on."""

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from interpbench_jax.ablations import ABLATION_NAMES
from interpbench_jax.bench.own_methods import digest_code, find_method
from interpbench_jax.bench.tiers import tier_of
from interpbench_jax.case import Case
from interpbench_jax.cases import TRUTHS, TaskPairs, TruthName
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.discovery import METHODS, Method
from interpbench_jax.discovery.method import FineUniverse, default_metric_of
from interpbench_jax.names import AblationName
from interpbench_jax.version import __version__
from interpbench_jax.weights import digest_weights

UNIVERSE: FineUniverse = "qkv"
"""The universe that methods score; results are given in it and in all coarser ones."""


@dataclass(frozen=True)
class BenchSettings:
    """The settings of a benchmark, which apply to every case.

    Attributes:
        methods: the methods by name, with their settings.
        ablations: the ablations, which determine what cut edges carry.
        seeds: the random seeds. Each gives the inputs, `case.sample(n_inputs, seed,
            split="test")`, on which no model was trained, and, with the case, a method's seed.
        n_inputs: the number of input pairs; None for `Task.bench_inputs`.
        orders: the number of edge orders in which to run a method whose result depends on it
            (`Method.shuffled`): first the order of its settings, then random ones.
        truth: the circuit that scores are compared with (`Case.truth`).

    Raises:
        ValueError: if there is nothing to run, or a value is given twice or unknown.
    """

    methods: Mapping[str, Method] = dataclasses.field(default_factory=lambda: dict(METHODS))
    ablations: tuple[AblationName, ...] = ("resample",)
    seeds: tuple[int, ...] = (0,)
    n_inputs: int | None = None
    orders: int = 8
    truth: TruthName = "complete"

    def __post_init__(self) -> None:
        if self.truth not in TRUTHS:
            raise ValueError(
                f"Expected truth to be one of {', '.join(TRUTHS)}, got {self.truth!r}."
            )
        unknown = [name for name in self.ablations if name not in ABLATION_NAMES]
        if unknown:
            raise ValueError(
                f"Expected each ablation to be one of {', '.join(ABLATION_NAMES)}, got "
                f"{', '.join(unknown)}."
            )
        for what, values in (("ablations", self.ablations), ("seeds", self.seeds)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"Expected distinct {what}, at least one, got {values}.")
        is_empty = self.n_inputs is not None and self.n_inputs < 1
        if not self.methods or min(self.seeds) < 0 or is_empty or self.orders < 1:
            raise ValueError(
                "Expected non-negative seeds and at least 1 method, 1 input and 1 order, got "
                f"{len(self.methods)} methods, seeds {self.seeds}, {self.n_inputs} inputs and "
                f"{self.orders} orders."
            )

    def orders_of(self, method: str) -> range:
        """Return the numbers of the edge orders in which a method is run."""
        return range(1 if self.methods[method].shuffled is None else self.orders)

    def method_of(self, run: "Run") -> Method:
        """Return a run's method, with the settings for the run's edge order."""
        method = self.methods[run.method]
        return dataclasses.replace(method, settings=method.shuffled) if run.order else method


def choose_methods(names: Sequence[str]) -> dict[str, Method]:
    """Return methods by name, as `own_methods.find_method` finds them.

    Raises:
        ValueError: if there is no such method.
    """
    return {name: find_method(name) for name in names}


@dataclass(frozen=True)
class Run:
    """One run of a method on a case.

    Attributes:
        case: the case's id.
        method: the method's name.
        ablation: the ablation, which determines what cut edges carry.
        seed: the seed of the inputs and of the method.
        order: the order in which the method goes through the edges: 0 for that of its settings,
            from 1 on a random one.
    """

    case: str
    method: str
    ablation: AblationName
    seed: int
    order: int = 0

    @property
    def method_seed(self) -> int:
        """The method's random seed; it differs by case, or random draws would agree."""
        order = f"/{self.order}" if self.order else ""
        return zlib.crc32(f"{self.case}/{self.seed}{order}".encode()) >> 1

    def __str__(self) -> str:
        order = f", order {self.order}" if self.order else ""
        return f"case {self.case}, {self.method} ({self.ablation}, seed {self.seed}{order})"


@dataclass(frozen=True)
class Facts:
    """Everything that the results of a run depend on, except for code changes within a version.

    Attributes:
        run: the case, method, ablation, seed and edge order.
        tier: the task's tier of difficulty; empty if the task is not declared.
        universe: the universe of the method's scores.
        metric: the metric that measures the method's effects.
        n_inputs: the number of input pairs.
        settings: the method's settings, as a JSON object.
        package_version: the version of interpbench-jax.
        jax_version: the version of JAX.
        device: the kind of device that it runs on.
        precision: the dtype of the model.
        model_digest: the digest of the weights.
        circuit_digest: the digest of the truth.
        data_digest: the digest of the inputs and targets.
    """

    run: Run
    tier: str
    universe: FineUniverse
    metric: str
    n_inputs: int
    settings: str
    package_version: str
    jax_version: str
    device: str
    precision: str
    model_digest: str
    circuit_digest: str
    data_digest: str

    def as_json(self) -> dict[str, Any]:
        """Return the facts as plain JSON values."""
        return dataclasses.asdict(self)

    @property
    def digest(self) -> str:
        """The SHA-256 of all facts."""
        return _digest(json.dumps(self.as_json(), sort_keys=True).encode())


@dataclass(frozen=True)
class Subject:
    """A case, and the values that are computed for it once.

    Attributes:
        case: the case.
        truth: the name of the truth that it is scored against.
        circuit: the circuit of that truth.
        tier: the task's tier of difficulty; empty if the task is not declared.
        model_digest: the digest of the weights.
        circuit_digest: the digest of the truth.
    """

    case: Case
    truth: TruthName
    circuit: Circuit
    tier: str
    model_digest: str
    circuit_digest: str

    @classmethod
    def of(cls, case: Case, truth: TruthName = "complete") -> "Subject":
        """Return the subject of a loaded case, to be scored against one of its truths.

        Raises:
            ValueError: if its circuit or its task is not known.
        """
        circuit = case.truth(truth)
        digests = digest_weights(case.weights), digest_circuit(circuit)
        return cls(case, truth, circuit, tier_of(case.task), *digests)


def plan_runs(subjects: Sequence[Subject], settings: BenchSettings) -> list[Run]:
    """Return all runs, grouped by the models' shape: models of one shape share programs."""
    by_shape: dict[TransformerConfig, list[str]] = {}
    for subject in subjects:
        by_shape.setdefault(subject.case.config, []).append(subject.case.case_id)
    return [
        Run(case, method, ablation, seed, order)
        for cases in by_shape.values()
        for ablation in settings.ablations
        for method in settings.methods
        for case in cases
        for seed in settings.seeds
        for order in settings.orders_of(method)
    ]


def facts_of(run: Run, subject: Subject, pairs: TaskPairs, settings: BenchSettings) -> Facts:
    """Return the facts that a run depends on."""
    method, task = settings.method_of(run), subject.case.task
    return Facts(
        run=run,
        tier=subject.tier,
        universe=UNIVERSE,
        metric=task.own_metric or default_metric_of(method.default_metric, subject.case.config),
        n_inputs=settings.n_inputs or len(pairs),
        settings=settings_as_json(method),
        package_version=__version__,
        jax_version=jax.__version__,
        device=jax.devices()[0].device_kind,
        precision=str(np.dtype(subject.case.model.dtype)),
        model_digest=subject.model_digest,
        circuit_digest=subject.circuit_digest,
        data_digest=digest_pairs(pairs),
    )


def digest_pairs(pairs: TaskPairs) -> str:
    """Return the SHA-256 of inputs, corrupted inputs and targets."""
    digest = hashlib.sha256()
    for array in (pairs.input_ids, pairs.corrupted_input_ids, pairs.metric_targets):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def digest_circuit(circuit: Circuit) -> str:
    """Return the SHA-256 of a circuit's JSON text."""
    return _digest(circuit.to_json().encode())


def settings_as_json(method: Method) -> str:
    """Return a method's settings, with a digest of its code if it is user-defined."""
    settings, code = method.settings, digest_code(method)
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        described = dataclasses.asdict(settings)
    else:
        described = {} if settings is None else {"settings": repr(settings)}
    described |= {} if code is None else {"code_sha256": code}
    return json.dumps(described, sort_keys=True, default=repr)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
