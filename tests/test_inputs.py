"""Pairs to patch between: of a case's task, and where none is declared."""

import dataclasses

import numpy as np
import pytest

from interpbench_jax.case import Case
from interpbench_jax.cases import CASES, IoiTask
from interpbench_jax.inputs import task_pairs, uniform_pairs
from interpbench_jax.weights import weight_shapes
from tests.tiny_models import make_model


@pytest.fixture(scope="module")
def prompts() -> Case:
    return make_model("ioi")


def test_pairs_of_a_program() -> None:
    task = CASES["13"]
    found = task_pairs(make_model("13"), 20, seed=3)
    expected = task.sample(20, 3)
    np.testing.assert_array_equal(found.pairs.input_ids, expected.input_ids)
    np.testing.assert_array_equal(found.pairs.corrupted_input_ids, expected.corrupted_input_ids)
    objective = found.pairs.objective
    np.testing.assert_array_equal(objective.targets, expected.metric_targets)
    np.testing.assert_array_equal(objective.scored, expected.is_scored)
    assert objective.metric is None
    assert found.description == "20 pairs of the task, corrupted inputs random (seed 3)"


@pytest.mark.parametrize("counterfactual", [None, "abc", "swapped", "random"])
def test_pairs_of_prompts(prompts: Case, counterfactual: str | None) -> None:
    task = CASES["ioi"]
    found = task_pairs(prompts, 20, 3, counterfactual)
    expected = task.sample(20, 3, counterfactual=counterfactual)
    np.testing.assert_array_equal(found.pairs.input_ids, expected.input_ids)
    np.testing.assert_array_equal(found.pairs.corrupted_input_ids, expected.corrupted_input_ids)
    objective = found.pairs.objective
    assert objective.metric == "logit_diff"
    np.testing.assert_array_equal(
        np.asarray(objective.scored), (np.arange(16) == 15)[None].repeat(20, 0)
    )
    kind = counterfactual or "abc"
    assert found.description == f"20 pairs of the task, corrupted inputs {kind} (seed 3)"
    targets = np.asarray(objective.targets)
    assert targets.shape == (20, 16, 2)
    np.testing.assert_array_equal(targets, expected.metric_targets)
    giver = found.pairs.input_ids[:, 11]
    np.testing.assert_array_equal(targets[:, -1, 1], giver)
    assert (targets[:, -1, 0] != giver).all()


def test_the_seed_decides(prompts: Case) -> None:
    first, again, other = (task_pairs(prompts, 5, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.pairs.input_ids, again.pairs.input_ids)
    np.testing.assert_array_equal(first.pairs.corrupted_input_ids, again.pairs.corrupted_input_ids)
    assert not np.array_equal(first.pairs.input_ids, other.pairs.input_ids)


def test_upstreams_counterfactual_warns(prompts: Case) -> None:
    with pytest.warns(UserWarning, match="patching from it changes nothing"):
        found = task_pairs(prompts, 5, 0, "upstream")
    np.testing.assert_array_equal(found.pairs.input_ids, found.pairs.corrupted_input_ids)


def test_pairs_are_in_the_models_own_ids(prompts: Case) -> None:
    """A model with all of GPT-2's ids is given these; only its config is looked at."""
    task = CASES["ioi"]
    assert isinstance(task, IoiTask)
    full = task.in_full_vocabulary()
    small = dataclasses.replace(full.config, n_layers=1, n_heads=1, d_model=1, d_head=1, d_mlp=1)
    weights = {name: np.zeros(shape, np.float32) for name, shape in weight_shapes(small).items()}
    case = Case("ioi", small, weights, None)
    found, compact = task_pairs(case, 5, 0), task_pairs(prompts, 5, 0)
    ids = np.asarray(task.gpt2_ids, np.int32)
    np.testing.assert_array_equal(found.pairs.input_ids, ids[compact.pairs.input_ids])
    np.testing.assert_array_equal(
        found.pairs.corrupted_input_ids, ids[compact.pairs.corrupted_input_ids]
    )
    own, small_own = (np.asarray(each.pairs.objective.targets) for each in (found, compact))
    np.testing.assert_array_equal(own[:, -1], ids[small_own[:, -1]])
    assert (own[:, :-1] == small_own[:, :-1]).all()


def test_what_is_refused(prompts: Case) -> None:
    with pytest.raises(ValueError, match="Expected at least 1 input, got n=0"):
        task_pairs(prompts, 0, 0)
    with pytest.raises(ValueError, match="Expected the seed to be at least 0, got -1"):
        task_pairs(prompts, 1, -1)
    message = "Expected counterfactual to be one of abc, swapped, random, upstream; got 'mean'"
    with pytest.raises(ValueError, match=message):
        task_pairs(prompts, 1, 0, "mean")
    with pytest.raises(ValueError, match="Expected counterfactual to be one of random; got 'abc'"):
        task_pairs(make_model("13"), 1, 0, "abc")
    nameless = dataclasses.replace(prompts, case_id="mine")
    with pytest.raises(ValueError, match=r"a case whose task is declared .*, got 'mine'"):
        task_pairs(nameless, 1, 0)


def test_uniform_pairs(prompts: Case) -> None:
    found = uniform_pairs(prompts, 30, 0)
    others, objective = found.pairs.corrupted_input_ids, found.pairs.objective
    assert others is not None and found.pairs.input_ids.shape == others.shape == (30, 16)
    assert (found.pairs.input_ids[:, 0] == 112).all() and not (
        found.pairs.input_ids[:, 1:] == 112
    ).any()
    assert objective.metric is objective.targets is objective.scored is None
    assert "uniform over the 112 tokens, BOS first" in found.description
    assert not np.array_equal(found.pairs.input_ids, others)
    for n, seed, message in ((0, 0, "at least 1 input"), (1, -1, "a seed from 0")):
        with pytest.raises(ValueError, match=message):
            uniform_pairs(prompts, n, seed)
