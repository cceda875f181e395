"""The floating-point operations and the bytes of a program, counted without its compiler."""

import math
from collections.abc import Iterator
from typing import Any

import jax


def count_flops(jaxpr: Any) -> int:
    """Count the operations of a program's products; a multiply-add counts as two.

    Everything else (activations, softmax, sums) is left out. A loop counts as often as it runs if
    that is known, and else once, as XLA counts it; of a conditional, the most expensive branch.
    """
    total = 0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        shapes = [variable.aval.shape for variable in equation.invars if hasattr(variable, "aval")]
        if name == "dot_general":
            (over, _), _ = parameters["dimension_numbers"]
            summed = math.prod(shapes[0][axis] for axis in over)
            total += 2 * summed * math.prod(equation.outvars[0].aval.shape)
        elif name == "interpbench_contract":
            left, _ = parameters["equation"].split("->")
            left, right = left.split(",")
            sizes = dict(zip(left + right, (*shapes[0], *shapes[1]), strict=True))
            total += 2 * math.prod(sizes.values())
        elif name == "cond":
            total += max(count_flops(branch.jaxpr) for branch in parameters["branches"])
        else:
            times = parameters["length"] if name == "scan" else 1
            total += times * sum(map(count_flops, _inner(parameters)))
    return total


def count_bytes(jaxpr: Any) -> int:
    """The bytes of a program's arguments and results: the least that it must move."""
    variables = (*jaxpr.invars, *jaxpr.outvars)
    return sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in variables)


def _inner(parameters: dict[str, Any]) -> Iterator[Any]:
    for value in parameters.values():
        for leaf in jax.tree.leaves(value, is_leaf=lambda each: hasattr(each, "eqns")):
            jaxpr = getattr(leaf, "jaxpr", leaf)
            if hasattr(jaxpr, "eqns"):
                yield jaxpr
