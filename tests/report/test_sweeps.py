"""The report of a sweep whose effects have both signs."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import interpbench_jax as ib
from interpbench_jax.report import (
    areas_by_universe,
    effect_rows,
    effects_table,
    sweep_row,
)
from interpbench_jax.sites import Edge
from interpbench_jax.sweeps import SweepResult

CASE = ib.load_case("34")


@pytest.fixture(scope="module")
def signed() -> SweepResult[Edge]:
    """Return a sweep whose largest effects are negative, as if cutting them improved the output."""
    pairs = CASE.task.sample(20, seed=0)
    found = ib.sweep_edges(CASE.model, pairs.input_ids, pairs.corrupted_input_ids)
    is_large = found.effects > np.quantile(found.effects, 0.9)
    return replace(found, effects=np.where(is_large, -found.effects, found.effects))


def test_areas_are_of_sizes(signed: SweepResult[Edge]) -> None:
    sizes = replace(signed, effects=abs(signed.effects))
    areas = areas_by_universe(signed, CASE.circuit)
    assert areas == areas_by_universe(sizes, CASE.circuit)
    assert areas["head"].value == 1.0
    # If each position is patched alone, the position with the largest absolute effect counts.
    twice = np.stack([signed.effects, signed.effects / 2 + 1e-9], axis=1)
    by_position = replace(signed, effects=twice, positions=(1, 2))
    assert areas_by_universe(by_position, CASE.circuit)["head"].value == 1.0


def test_the_largest_come_first_with_their_sign(signed: SweepResult[Edge]) -> None:
    smallest = float(signed.effects.min())
    assert smallest < 0 and abs(signed.effects).max() == -smallest
    assert sweep_row("34", signed, CASE.circuit).largest == smallest
    console = Console(width=200)
    with console.capture() as text:
        console.print(effects_table("Edges", effect_rows(signed, CASE.circuit), 3))
    first = text.get().splitlines()[2]
    assert f"{smallest:.3g}" in first and "█" in first and first.split()[-1] == "in"
