"""The language task's rule, patched at one position."""

import numpy as np
import pytest

from interpbench_jax.cases import find_task
from interpbench_jax.sites import Kind


@pytest.mark.slow
def test_positions_of_the_circuit() -> None:
    task = find_task("ioi")
    pairs = task.sample(8, 0)
    truth = task.position_truth(pairs)
    circuit = task.complete_circuit.edge_truths("qkv")
    for number, edge in enumerate(truth.edges):
        if circuit[edge] == "in":
            assert truth.is_in[number].any(), str(edge)
        else:
            assert not truth.is_in[number].any(), str(edge)
        if edge.src.kind is Kind.POS_EMBED:
            assert not truth.differs[:, number].any()
    # The answer is read at the last position alone.
    output = [edge.dst.kind is Kind.RESID_POST for edge in truth.edges]
    (place,) = np.unique(np.nonzero(truth.is_in[np.asarray(output)])[1])
    assert place == truth.n_positions - 1


def test_a_position_changes_what_is_read_there() -> None:
    task = find_task("ioi")
    model, pairs = task.high_level, task.sample(6, 1)
    inputs, sources = pairs.input_ids, pairs.corrupted_input_ids
    last = inputs.shape[1] - 1
    plain, other = np.asarray(model.targets(inputs)), np.asarray(model.targets(sources))
    found = np.asarray(model.targets(inputs, sources, edge=model.edges[-1], position=last))
    np.testing.assert_array_equal(found[:, :last], plain[:, :last])
    np.testing.assert_array_equal(found[:, last], other[:, last])
    with pytest.raises(ValueError, match="a position together with edges"):
        model.targets(inputs, sources, model.nodes[0], position=1)
