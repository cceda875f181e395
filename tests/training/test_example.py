"""The example's model learns its task, and a sweep finds the circuit."""

import dataclasses

import pytest

from examples.train_your_own import TASK
from interpbench_jax import edge_auc_by_universe, sweep_edges
from interpbench_jax.sites import Kind
from interpbench_jax.training import train


@pytest.mark.slow
def test_train_your_own() -> None:
    assert {node.kind for node in TASK.lowering.nodes} == {Kind.HEAD, Kind.MLP_POST}
    recipe = dataclasses.replace(
        TASK.recipe, n_samples=6_000, n_validation=500, target=0.98, target_loss=None
    )
    trained = train(TASK, recipe=recipe)
    assert trained.has_reached_target
    pairs = TASK.sample(200, seed=0, split="test")
    result = sweep_edges(trained.case.model, pairs.input_ids, pairs.corrupted_input_ids)
    areas = edge_auc_by_universe(result.effects, TASK.complete_circuit)
    assert areas["head-no-embed"] is not None and areas["head-no-embed"] > 0.95
