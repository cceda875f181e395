"""Minimal circuits: what suffices, where nothing more can be left out."""

from itertools import combinations

import numpy as np
import pytest

from interpbench_jax.cases import CASES, Task, find_task, minimal_circuits
from interpbench_jax.circuit import Circuit
from interpbench_jax.sites import Edge

COPIES = "generated-0-copies=3-n_tokens=3-length=4"


def counted(circuit: Circuit) -> set[Edge]:
    return set(circuit.edges) - set(circuit.constant)


def changes(task: Task, kept: set[Edge], n: int = 512) -> bool:
    """Whether an output changes when all of the program's other edges are cut, on other pairs."""
    pairs, model = task.sample(n, 1), task.high_level
    cut = [edge for edge in model.edges if not kept & set(task.edge_alignment[edge])]
    plain = np.asarray(model.targets(pairs.input_ids))
    patched = np.asarray(model.targets(pairs.input_ids, pairs.corrupted_input_ids, edge=cut))
    return bool((patched != plain)[pairs.is_scored].any())


@pytest.mark.slow
def test_any_two_of_three_copies_suffice() -> None:
    task = find_task(COPIES)
    found = minimal_circuits(task)
    assert len(found) == 3
    alone = counted(task.complete_circuit)
    own = [counted(each) - alone for each in found]
    assert all(counted(each) > alone for each in found)
    assert [len(rest) for rest in own] == [6, 6, 6]
    heads = {frozenset(edge.dst.head for edge in each if edge.dst.head is not None) for each in own}
    assert heads == {frozenset(two) for two in combinations(range(3), 2)}
    for each in found:
        kept = counted(each)
        assert not changes(task, kept)
        assert set(each.edges) == set(task.complete_circuit.edges)
    # Without one more edge it no longer suffices.
    for edge in own[0]:
        assert changes(task, counted(found[0]) - {edge})
    for one, other in combinations(own, 2):
        assert changes(task, alone | (one & other))


@pytest.mark.slow
@pytest.mark.parametrize("case_id", ["3", "13", "rare-1", "ioi"])
def test_where_nothing_can_be_spared_there_is_one(case_id: str) -> None:
    task = CASES[case_id]
    (found,) = minimal_circuits(task)
    assert counted(found) == counted(task.complete_circuit)
    assert set(found.edges) == set(task.complete_circuit.edges)


@pytest.mark.slow
def test_too_many_sets_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interpbench_jax.cases.minimal._MOST_SPARE", 8)
    with pytest.raises(ValueError, match=r"at most 8 edges can be cut .* got one with 9"):
        minimal_circuits(find_task(COPIES))
