"""The derived edges include every edge that matters, on at least 500 distinct random programs."""

from collections.abc import Iterator

import pytest

from interpbench_jax.rasp import Variable
from interpbench_jax.rasp.lowering import Lowering
from interpbench_jax.rasp.placement import lower
from interpbench_jax.rasp.plain import PlainValues
from interpbench_jax.sites import Edge
from tests.rasp.random_programs import SEQUENCES, distinct_programs
from tests.rasp.wiring import Wiring

# Checking every annotation would take most of the time.
pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.slow
def test_derived_edges_contain_every_edge_that_matters() -> None:
    n_matter = n_derived = 0
    for program in distinct_programs():
        lowering = lower(program)
        derived = lowering.circuit(lowering.n_layers, max(1, lowering.n_heads)).fine_edges
        matter = set(_edges_that_matter(program, lowering))
        assert matter <= derived, f"{program}\nlacks {sorted(map(str, matter - derived))}"
        n_matter += len(matter)
        n_derived += len(derived)
    # Most derived edges matter; the others end in constants or in tables that ignore them.
    assert n_matter > 0.5 * n_derived


def test_scored_circuit_lies_within_the_derived_heads() -> None:
    for program in distinct_programs():
        lowering = lower(program)
        shape = (lowering.n_layers, max(1, lowering.n_heads))
        complete = lowering.circuit(*shape).in_universe("head")
        assert lowering.scored_circuit(*shape).in_universe("head") <= complete, str(program)


def _edges_that_matter(program: Variable, lowering: Lowering) -> Iterator[Edge]:
    """Yield edges whose removal changes some output; the wiring is taken from the expressions.

    To remove an edge, the value that it carries is made missing or replaced by another input's.
    """
    wiring = Wiring(program, {step.variable: step.node for step in lowering.steps})
    plain = [wiring.run(sequence) for sequence in SEQUENCES]
    others = plain[1:] + plain[:1]
    missing: list[PlainValues] = [[None] * len(SEQUENCES[0]) for _ in wiring.order]
    for edge in sorted(set(wiring.edge_of.values()), key=str):
        cuts = (
            wiring.run(sequence, edge, replacement)[-1] != expected[-1]
            for sequence, expected, other in zip(SEQUENCES, plain, others, strict=True)
            for replacement in (missing, other)
        )
        if any(cuts):
            yield edge
