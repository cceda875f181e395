"""Common programs, built from the operations."""

from dataclasses import replace

from interpbench_jax.rasp.expressions import (
    Aggregate,
    Encoding,
    Map,
    Select,
    SelectorWidth,
    Variable,
    indices,
)
from interpbench_jax.rasp.functions import Comparison, KeyBefore


def numerical(variable: Variable) -> Variable:
    """`variable`, encoded as one direction scaled by its value.

    Raises:
        ValueError: if the operation has no numerical form; the message names those that have.
    """
    if isinstance(variable, (Map, SelectorWidth)):
        return replace(variable, encoded=Encoding.NUMERICAL)
    if variable.encoding is Encoding.NUMERICAL:
        return variable
    raise ValueError(
        f"Expected a Map or a SelectorWidth to encode numerically, got "
        f"{type(variable).__name__}; convert it with `numerical(Map(function, variable))`."
    )


def shift(variable: Variable, distance: int) -> Aggregate:
    """The value `distance` positions earlier (later if negative); missing beyond either end."""
    selected = Select(indices, indices, KeyBefore(distance))
    return Aggregate(selected, variable, name=f"shift_by({distance})")


def width(keys: Variable, queries: Variable, comparison: Comparison) -> SelectorWidth:
    """The number of keys for which `comparison` with the query holds."""
    return SelectorWidth(Select(keys, queries, comparison))
