"""What the plan of a computation depends on in the kind of device that it runs on.

The device is the one that a program is compiled for, which need not be one that this process has:
XLA also compiles for a GPU or a TPU that is not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import jax

Effort = Literal["quick", "full"]
CompileOptions = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class Chip:
    """A kind of device.

    Attributes:
        name: what the kind is called in the description of a plan.
        overhead_rows: what a block of patched runs costs besides its rows, in rows.
        least_rows: rows from which on a block is large enough, whatever memory it takes.
        most_rows: rows from which on a larger block is no faster.
        block_bytes: bytes of hidden units of a block, between these limits.
        max_bytes: the memory of a sweep that names none.
        has_threads: whether calls run side by side in threads, rather than queued.
        quick_options: options for XLA's compiler. Options come and go with XLA's releases: after a
            set that XLA rejects, the next is tried, and at last none.
        full_options: options for programs that run for long, likewise.
    """

    name: str
    overhead_rows: int
    least_rows: int
    most_rows: int
    block_bytes: int
    max_bytes: int
    has_threads: bool = False
    quick_options: tuple[CompileOptions, ...] = ()
    full_options: tuple[CompileOptions, ...] = ()

    def options(self, effort: Effort) -> tuple[CompileOptions, ...]:
        """The options for XLA's compiler."""
        return self.full_options if effort == "full" else self.quick_options


# Larger blocks leave the caches, smaller ones do not fill a product. Both options halve the time
# that a program takes to compile, and it also runs slightly faster.
_CPU_LEVEL = {"xla_backend_optimization_level": 1}
_CPU_OPTIONS = ({"xla_cpu_use_fusion_emitters": False, **_CPU_LEVEL}, _CPU_LEVEL)
_CPU = Chip(
    name="a CPU",
    overhead_rows=128,
    least_rows=128,
    most_rows=1024,
    block_bytes=2 << 20,
    max_bytes=512 << 20,
    has_threads=True,
    quick_options=_CPU_OPTIONS,
    full_options=_CPU_OPTIONS,
)
# Without a device to tune on, XLA finds no tiles for some products of small matrices; then they are
# left to cuBLAS.
_GPU_OPTIONS: tuple[CompileOptions, ...] = ({}, {"xla_gpu_enable_triton_gemm": False})
# Measured on an H100 (`benchmarks/accelerators/h100.json`): a block takes 0.2 to 0.3 ms, most of
# which is the launching of some fifty kernels, and a patched run of a small model 30 to 120 ns.
_GPU = Chip(
    name="a GPU",
    overhead_rows=4096,
    least_rows=4096,
    most_rows=1 << 16,
    block_bytes=256 << 20,
    max_bytes=4 << 30,
    quick_options=_GPU_OPTIONS,
    full_options=_GPU_OPTIONS,
)
# By XLA's estimates for a v5e: a block of case 11 takes 0.6 ms, and 0.4 ms for every 1,024 patched
# runs. With little effort a program compiles in a third of the time, and a block takes about twice
# as long.
_TPU = Chip(
    name="a TPU",
    overhead_rows=2048,
    least_rows=2048,
    most_rows=1 << 14,
    block_bytes=64 << 20,
    max_bytes=4 << 30,
    quick_options=({"exec_time_optimization_effort": -1.0},),
)
_CHIPS: Mapping[str, Chip] = MappingProxyType({"cpu": _CPU, "tpu": _TPU})


def chip_of(platform: str | None = None) -> Chip:
    """The kind of device of a platform of JAX; the default is that of the default device.

    Devices of an unknown platform are planned for as a GPU.
    """
    return _CHIPS.get(jax.default_backend() if platform is None else platform, _GPU)
