"""A program compiled for a target, and what is known about it then."""

import time
from dataclasses import dataclass
from typing import Any

import jax

from benchmarks.accelerators.counted import count_bytes, count_flops
from benchmarks.accelerators.hlo import HloFacts, read_hlo
from benchmarks.accelerators.targets import Target
from interpbench_jax.engine.programs import compile_lowered


@dataclass(frozen=True)
class ProgramFacts:
    """A program compiled for a target; sizes are for one device.

    Attributes:
        target: the target's name.
        workload: what the program is part of.
        program: the program's name.
        error: why it does not compile; empty if it does.
        compile_seconds: how long compiling it took.
        cpu_seconds: how much of that time this process worked, on all cores.
        argument_bytes: the memory of its arguments, by XLA's account.
        result_bytes: the memory of its results.
        working_bytes: the additional memory that it needs while it runs.
        xla_flops: operations by XLA's account; bodies of loops are counted once.
        xla_bytes: bytes read and written by XLA's account, likewise.
        flops: operations of its products, counted in the program that is handed to XLA; loops of
            known length are counted in full.
        least_bytes: the bytes of its arguments and results, counted likewise.
        hlo: what the compiled program's text says.
    """

    target: str
    workload: str
    program: str
    error: str = ""
    compile_seconds: float = 0.0
    cpu_seconds: float = 0.0
    argument_bytes: int = 0
    result_bytes: int = 0
    working_bytes: int = 0
    xla_flops: float | None = None
    xla_bytes: float | None = None
    flops: int = 0
    least_bytes: int = 0
    hlo: HloFacts | None = None


def compile_for(
    target: Target, workload: str, program: str, trace: Any, *, full_effort: bool = False
) -> ProgramFacts:
    """Compile a program and read off what is known about it.

    Args:
        target: the target.
        workload: what the program is part of.
        program: the program's name.
        trace: returns the traced program, as `jax.jit(...).trace` does.
        full_effort: whether to compile as for a program that runs for long.
    """
    effort = "full" if full_effort else "quick"
    try:
        traced = trace()
        lowered = traced.lower()
        started, worked = time.perf_counter(), time.process_time()
        compiled = compile_lowered(lowered, target.platform, effort)
        seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    except Exception as error:
        # A target that cannot take a program is a result.
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return ProgramFacts(target.name, workload, program, error=message[:300])
    memory, cost, text = compiled.memory_analysis(), _cost(compiled), compiled.as_text()
    assert memory is not None and text is not None
    jaxpr = traced.jaxpr.jaxpr
    return ProgramFacts(
        target.name,
        workload,
        program,
        compile_seconds=seconds,
        cpu_seconds=cpu,
        argument_bytes=memory.argument_size_in_bytes,
        result_bytes=memory.output_size_in_bytes,
        working_bytes=memory.temp_size_in_bytes,
        xla_flops=cost.get("flops"),
        xla_bytes=cost.get("bytes accessed"),
        flops=count_flops(jaxpr),
        least_bytes=count_bytes(jaxpr),
        hlo=read_hlo(text),
    )


def _cost(compiled: jax.stages.Compiled) -> dict[str, float]:
    """XLA's account of a program; empty where it keeps none, as for a GPU that is not here."""
    cost = compiled.cost_analysis()
    return dict(cost) if isinstance(cost, dict) else {}
