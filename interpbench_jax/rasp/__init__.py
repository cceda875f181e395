"""RASP programs: their building blocks, two evaluators, and their layout on a transformer.

`interpbench_jax.rasp.compiled` and `.high_level` import JAX and are therefore not imported here.
"""

from interpbench_jax.rasp.expressions import (
    Aggregate,
    Encoding,
    Expression,
    Indices,
    LinearSequenceMap,
    Map,
    Select,
    Selector,
    SelectorAnd,
    SelectorNot,
    SelectorOr,
    SelectorWidth,
    SequenceMap,
    Tokens,
    Variable,
    indices,
    tokens,
)
from interpbench_jax.rasp.functions import Comparison, KeyBefore, Lookup, Value, lookup
from interpbench_jax.rasp.library import numerical, shift, width
from interpbench_jax.rasp.traversal import in_order, walk

__all__ = [
    "Aggregate",
    "Comparison",
    "Encoding",
    "Expression",
    "Indices",
    "KeyBefore",
    "LinearSequenceMap",
    "Lookup",
    "Map",
    "Select",
    "Selector",
    "SelectorAnd",
    "SelectorNot",
    "SelectorOr",
    "SelectorWidth",
    "SequenceMap",
    "Tokens",
    "Value",
    "Variable",
    "in_order",
    "indices",
    "lookup",
    "numerical",
    "shift",
    "tokens",
    "walk",
    "width",
]
