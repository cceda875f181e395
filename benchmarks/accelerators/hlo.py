"""Facts about a compiled program that are read from XLA's text of it."""

import math
import re
from dataclasses import dataclass

_COLLECTIVES = re.compile(
    r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
)
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# An array as the compiler stores it: dtype, sizes, order of its axes and, on TPUs, tiles.
_ARRAY = re.compile(r"= (\w+)\[([\d,]+)\]\{([\d,]+):T\((\d+)(?:,(\d+))?\)[^}]*\} ")
_KERNELS = re.compile(r" (fusion|custom-call|copy|convolution|dot|sort|gather|scatter)\(")


@dataclass(frozen=True)
class HloFacts:
    """What the text of a program says.

    Attributes:
        n_kernels: operations that are launched by themselves, of all computations together.
        n_loops: loops.
        n_branches: conditionals.
        n_collectives: operations in which devices communicate.
        cycles: the compiler's estimate of time in cycles, where it makes one; bodies of loops are
            counted once.
        padding: bytes stored over bytes of numbers, for all arrays that the program makes; 1
            where arrays are not padded.
    """

    n_kernels: int
    n_loops: int
    n_branches: int
    n_collectives: int
    cycles: int | None
    padding: float


def read_hlo(text: str) -> HloFacts:
    """Read a program's optimized text."""
    # Operations inside a fusion are not launched.
    launched = re.sub(r"\n(?:%fused|%\S*fused)\S* [^\n]*\{\n.*?\n\}", "", text, flags=re.DOTALL)
    cycles = [int(number) for number in _CYCLES.findall(text)]
    return HloFacts(
        n_kernels=len(_KERNELS.findall(launched)),
        n_loops=launched.count(" while("),
        n_branches=launched.count(" conditional("),
        n_collectives=len(_COLLECTIVES.findall(launched)),
        cycles=sum(cycles) if cycles else None,
        padding=_padding(launched),
    )


def _padding(text: str) -> float:
    used, stored = 0, 0
    for _, sizes, order, second, first in _ARRAY.findall(text):
        shape = [int(size) for size in sizes.split(",")]
        axes = [int(axis) for axis in order.split(",")]
        # The first axis in the order varies fastest; tiles cover it and the next.
        tile = (int(first), int(second)) if first else (int(second),)
        padded = list(shape)
        for axis, size in zip(axes, tile, strict=False):
            padded[axis] = -(-shape[axis] // size) * size
        used += math.prod(shape)
        stored += math.prod(padded)
    return stored / used if used else 1.0
