"""Distinct random programs over two tokens at three positions, and all their inputs."""

import zlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    Encoding,
    LinearSequenceMap,
    Map,
    Select,
    Selector,
    SelectorAnd,
    SelectorNot,
    SelectorOr,
    SelectorWidth,
    SequenceMap,
    Variable,
    indices,
    tokens,
)
from interpbench_jax.rasp.functions import Value

N_PROGRAMS = 500
MAX_OPERATIONS = 6
N_POSITIONS = 3
VOCAB = (0, 1)
SEQUENCES = tuple(product(VOCAB, repeat=N_POSITIONS))


@dataclass(frozen=True)
class Scramble:
    """A pseudorandom function with `n` results; if partial, a further result is None."""

    salt: int
    n: int = 3
    is_partial: bool = False

    def __call__(self, *values: Value) -> int | None:
        drawn = zlib.crc32(repr((self.salt, values)).encode()) % (self.n + self.is_partial)
        return drawn if drawn < self.n else None


@dataclass(frozen=True)
class Coin:
    """A pseudorandom predicate."""

    salt: int

    def __call__(self, key: Value, query: Value) -> bool:
        return Scramble(self.salt, n=2)(key, query) == 1


@dataclass(frozen=True)
class Bin:
    """The number of thresholds, out of two, that a number exceeds; no number lies close to one."""

    low: float = 0.37
    high: float = 0.71

    def __call__(self, number: float) -> int:
        return (number > self.low) + (number > self.high)


@st.composite
def programs(draw: st.DrawFn) -> Variable:
    """Draw a program of one to six operations, not counting selectors."""
    pool: list[Variable] = [tokens, indices]
    for _ in range(draw(st.sampled_from([1, 2, 3, 4, 5, 6, 6, 6, 6]))):
        pool.append(draw(_operations(pool)))
    return pool[-1]


@st.composite
def _operations(draw: st.DrawFn, pool: list[Variable]) -> Variable:
    # Only the latest variables are used, so that programs become deep.
    categorical = [variable for variable in pool if variable.is_categorical][-3:]
    numbers = [variable for variable in pool if not variable.is_categorical][-2:]
    kinds = ["map", "number", "pair", "aggregate", "width"]
    if numbers:
        kinds += ["bin", "linear", "mean"]
    some = st.sampled_from([*categorical, categorical[-1], categorical[-1]])
    scrambles = st.builds(Scramble, st.integers(0, 99))
    match draw(st.sampled_from(kinds)):
        case "map":
            partial = st.builds(Scramble, st.integers(0, 99), is_partial=st.booleans())
            return Map(draw(partial), draw(some))
        case "number":
            return Map(Scramble(draw(st.integers(0, 99)), n=2), draw(some), Encoding.NUMERICAL)
        case "bin":
            return Map(Bin(), draw(st.sampled_from(numbers)))
        case "pair":
            return SequenceMap(draw(scrambles), draw(some), draw(some))
        case "linear":
            number = st.sampled_from(numbers)
            factor = st.sampled_from([-1, 1, 2])
            return LinearSequenceMap(draw(number), draw(number), draw(factor), draw(factor))
        case "aggregate":
            return Aggregate(draw(_selectors(categorical)), draw(some))
        case "mean":
            return Aggregate(draw(_selectors(categorical)), draw(st.sampled_from(numbers)))
        case "width":
            return SelectorWidth(draw(_selectors(categorical)), draw(st.sampled_from(Encoding)))
    raise AssertionError


@st.composite
def _selectors(draw: st.DrawFn, pool: list[Variable]) -> Selector:
    keys, queries = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
    predicates = st.one_of(st.sampled_from(Comparison), st.builds(Coin, st.integers(0, 99)))
    selector: Selector = Select(keys, queries, draw(predicates))
    match draw(st.sampled_from(["plain", "plain", "not", "and", "or"])):
        case "not":
            return SelectorNot(selector)
        case "and":
            return SelectorAnd(selector, Select(keys, queries, draw(predicates)))
        case "or":
            return SelectorOr(selector, Select(keys, queries, draw(predicates)))
    return selector


@lru_cache
def distinct_programs() -> tuple[Variable, ...]:
    """Return distinct random programs, the same ones in every run."""
    found: dict[Variable, None] = {}

    @settings(
        max_examples=8 * N_PROGRAMS // 5,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(programs())
    def collect(program: Variable) -> None:
        found[program] = None

    collect()
    return tuple(found)[:N_PROGRAMS]
