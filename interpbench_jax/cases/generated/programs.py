"""Random programs: fetches by content, gates, copies, and two tasks in one."""

import random
from collections.abc import Iterable

from interpbench_jax.cases.generated.dials import Dials
from interpbench_jax.cases.generated.functions import (
    BothMarked,
    Choose,
    GoOn,
    IsPosition,
    KeepIf,
    Latin,
    Threshold,
    majority,
)
from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    Select,
    SequenceMap,
    Variable,
    indices,
    tokens,
)
from interpbench_jax.rasp.functions import pair


def make_program(dials: Dials, rng: random.Random) -> tuple[Variable, tuple[int, ...]]:
    """Draw a program, and the tokens that select its second task.

    Every selector selects exactly one position, so that no value is missing or mixed.
    """
    marks = tuple(sorted(shuffled(range(dials.n_tokens), rng)[: dials.marks]))
    if dials.tasks == 1:
        found = _chain(dials, rng, "")
        output = SequenceMap(_gate(dials, rng), found[-1], tokens, name="gate")
        for number in range(dials.fan_out - 1):
            output = SequenceMap(
                _gate(dials, rng), output, found[number], name=f"gate_{number + 2}"
            )
        return output, marks
    flag, own_marks = _flag(dials, marks), marks if dials.markers == 1 else ()
    first, second = (
        SequenceMap(
            KeepIf(own_marks, wanted),
            flag,
            _chain(dials, rng, name)[-1],
            name=f"{name}_or_blank",
        )
        for name, wanted in (("first", False), ("second", True))
    )
    tables = [shuffled(range(dials.n_tokens), rng) for _ in range(2)]
    return SequenceMap(Choose(tables[0], tables[1]), first, second, name="chosen"), marks


def _chain(dials: Dials, rng: random.Random, prefix: str) -> list[Variable]:
    """The tokens of some fetches, one after another; each tells where the next one goes."""
    start = f"{prefix}_" if prefix else ""
    place, value, found = indices, tokens, list[Variable]()
    for hop in range(1, dials.hops + 1):
        place = SequenceMap(_step(dials, rng), place, value, name=f"{start}place_{hop}")
        value = _fetch(place, f"{start}token_{hop}")
        found.append(value)
    if dials.copies == 3:
        copies = [_fetch(place, f"{start}copy_{number}") for number in range(1, 4)]
        two = SequenceMap(pair, copies[0], copies[1], name=f"{start}two")
        found[-1] = SequenceMap(majority, two, copies[2], name=f"{start}majority")
    return found


def _fetch(place: Variable, name: str) -> Variable:
    return Aggregate(Select(indices, place, Comparison.EQ), tokens, name=name)


def _step(dials: Dials, rng: random.Random) -> GoOn:
    """A step whose distances differ as far as there are positions."""
    places = shuffled(range(dials.length), rng)
    repeated = [places[number % dials.length] for number in range(dials.n_tokens)]
    return GoOn(shuffled(repeated, rng), dials.length)


def _gate(dials: Dials, rng: random.Random) -> Latin | Threshold:
    n = dials.n_tokens
    if dials.gate == "latin":
        rows, columns, names = (shuffled(range(n), rng) for _ in range(3))
        return Latin(rows, columns, names)
    ranks = shuffled(range(n), rng)
    # Of the sums 0 to 2 n - 2, a third of the pairs each lies below n - 1 and above it, about.
    return Threshold(ranks, (n - 2, n))


def _flag(dials: Dials, marks: tuple[int, ...]) -> Variable:
    """The token that selects the task, or whether several of them together do."""
    first, *others = (
        Aggregate(Select(indices, indices, IsPosition(place)), tokens, name=f"marker_{place + 1}")
        for place in range(dials.markers)
    )
    flag: Variable = first
    for number, each in enumerate(others):
        flag = SequenceMap(BothMarked(marks, number == 0), flag, each, name=f"flag_{number + 2}")
    return flag


def shuffled(values: Iterable[int], rng: random.Random) -> tuple[int, ...]:
    """The values in random order; `random.random` is the one draw that no version will change."""
    return tuple(sorted(values, key=lambda _: rng.random()))
