"""The programs of sweeps, of methods, of training and of certificates."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

import interpbench_jax as ib
from benchmarks.accelerators.recorded import Recorded, distinct, recording
from benchmarks.accelerators.targets import Target, planned_for
from benchmarks.speed.workloads import random_job
from interpbench_jax.cases import find_task
from interpbench_jax.certificates.measure import certify
from interpbench_jax.discovery import METHODS
from interpbench_jax.engine import programs
from interpbench_jax.sweeps import compile as sweep_programs
from interpbench_jax.sweeps.check import SweepRequest, check_request
from interpbench_jax.sweeps.edits import edges_of
from interpbench_jax.sweeps.job import make_job
from interpbench_jax.sweeps.options import SweepOptions
from interpbench_jax.sweeps.plan import plan_job
from interpbench_jax.training.stack import stack_tasks

# Fewer pairs than a certificate has: its programs run on chunks, whose size they do not change.
_CERTIFIED_PAIRS = 1_024
_METHOD_INPUTS = 1_000


@dataclass(frozen=True)
class Traced:
    """A program of a workload, to be compiled for a target.

    Attributes:
        workload: what it is part of.
        program: its name.
        trace: traces it for the target.
    """

    workload: str
    program: str
    trace: Callable[[], Any]


def sweeps(target: Target) -> Iterator[Traced]:
    """The clean run and the patched runs of sweeps, split over all of a target's devices."""
    for case_id, n_inputs in (("11", 32), ("11", 1_000), ("8", 1_000), ("ioi", 100)):
        case = ib.load_case(case_id)
        yield from _sweep(target, f"sweep {case_id}", case.model, case.sample(n_inputs, seed=0))
    for d_model, n_inputs in ((64, 500), (256, 128)):
        job = random_job(d_model, n_inputs)
        model = ib.build_model(ib.TransformerConfig(**job.config), job.weights)  # pyright: ignore
        pairs = ib.Pairs(job.clean, job.corrupted)
        yield from _sweep(target, f"sweep d {d_model}", model, pairs)


def _sweep(target: Target, label: str, model: Any, pairs: Any) -> Iterator[Traced]:
    request = SweepRequest(
        model=model,
        pairs=pairs,
        edits=edges_of(model.config, "qkv"),
        ablation="resample",
        options=SweepOptions(mesh=target.mesh()),
    )
    job = make_job(request, check_request(request))
    real = sweep_programs.compile_all
    # The plan takes what fits by its own estimate; what XLA says is in the table.
    sweep_programs.compile_all = _not_compiled
    try:
        with recording() as found:
            plan, _ = plan_job(job, None)
    finally:
        sweep_programs.compile_all = real
    chunks = plan.chunks
    size = f"{chunks.edits} x {chunks.batch:,}"
    for program, name in zip(found[-2:], ("clean run", f"block of {size}"), strict=True):
        yield Traced(f"{label}, {len(job.question.inputs.clean):,} inputs", name, program.trace)


def _not_compiled(*wanted: programs.Lowered) -> list[programs.Program]:
    return [programs.Program(None, each.result, 0, 0, 0) for each in wanted]  # pyright: ignore


def methods(target: Target) -> Iterator[Traced]:
    """The programs of every discovery method on case 11."""
    case = ib.load_case("11")
    pairs = case.sample(_METHOD_INPUTS, seed=0)
    for name in METHODS:
        programs.forget_programs()
        with planned_for(target), recording() as found:
            ib.discover(case.model, pairs, name)
        yield from _on_first(target, name, found)


def training(target: Target) -> Iterator[Traced]:
    """An epoch, and the examination after it, of four models of case 11."""
    with planned_for(target), recording() as found:
        (stack,) = stack_tasks([find_task("11")], range(4))
        state = stack.start()
        models = stack.models(np.ones(len(stack.jobs), bool))
        found.clear()
        epoch: Any = stack.epoch.run
        epoch.lower(state, models, stack.data, jax.random.key(0))
        stack.examine(state.weights)
    # An epoch's function is made anew for each target, so that its plan is the target's.
    yield from _on_first(target, "training, 4 models", found)


def certificates(target: Target) -> Iterator[Traced]:
    """The programs of the certificate of case 11."""
    programs.forget_programs()
    with planned_for(target), recording() as found:
        certify(ib.load_case("11"), n=_CERTIFIED_PAIRS)
    yield from _on_first(target, "certificate", found)


def _on_first(target: Target, workload: str, found: list[Recorded]) -> Iterator[Traced]:
    device = target.devices()[0]
    for program in distinct(found):

        def trace(program: Recorded = program) -> Any:
            with planned_for(target):
                return program.trace_on(device)

        yield Traced(workload, program.name, trace)


WORKLOADS: Mapping[str, Callable[[Target], Iterator[Traced]]] = MappingProxyType(
    {
        "sweeps": sweeps,
        "methods": methods,
        "training": training,
        "certificates": certificates,
    }
)
"""The workloads by name. All but sweeps run on one device of a target."""
