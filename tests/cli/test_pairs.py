"""Which inputs commands patch between."""

import dataclasses

import numpy as np
import pytest

from interpbench_jax import load_case
from interpbench_jax.case import Case
from interpbench_jax.cases import CASES
from interpbench_jax.cli.pairs import draw_pairs
from interpbench_jax.inputs import uniform_pairs
from tests.fixtures import random_weights


@pytest.fixture(scope="module")
def ioi() -> Case:
    task = CASES["ioi"]
    return Case("ioi", task.config, random_weights(task.config), task.complete_circuit, task.tokens)


@pytest.mark.parametrize("counterfactual", [None, "swapped", "random"])
def test_a_language_task_draws_its_own(ioi: Case, counterfactual: str | None) -> None:
    drawn = draw_pairs(ioi, 6, 3, counterfactual)
    own = ioi.sample(6, 3, counterfactual=counterfactual)
    np.testing.assert_array_equal(drawn.pairs.input_ids, own.input_ids)
    np.testing.assert_array_equal(drawn.pairs.corrupted_input_ids, own.corrupted_input_ids)
    assert drawn.pairs.objective.metric == "logit_diff"
    assert (counterfactual or "abc") in drawn.description


@pytest.mark.parametrize("counterfactual", [None, "random"])
def test_a_program_draws_what_its_case_draws(counterfactual: str | None) -> None:
    case = load_case("3")
    drawn, own = draw_pairs(case, 6, 3, counterfactual).pairs, case.sample(6, 3)
    np.testing.assert_array_equal(drawn.input_ids, own.input_ids)
    np.testing.assert_array_equal(drawn.corrupted_input_ids, own.corrupted_input_ids)
    np.testing.assert_array_equal(drawn.objective.scored, own.is_scored)


def test_a_case_without_a_task_draws_uniformly() -> None:
    case = dataclasses.replace(load_case("3"), case_id="mine")
    drawn, uniform = draw_pairs(case, 6, 3, None), uniform_pairs(case, 6, 3)
    np.testing.assert_array_equal(drawn.pairs.input_ids, uniform.pairs.input_ids)
    assert drawn.pairs.objective.targets is None
    with pytest.raises(ValueError, match="'mine', which has no declared task, got 'random'"):
        draw_pairs(case, 6, 3, "random")


def test_what_there_is_not_is_refused(ioi: Case) -> None:
    with pytest.raises(ValueError, match="one of abc, swapped, random, upstream; got 'other'"):
        draw_pairs(ioi, 6, 3, "other")
    with pytest.raises(ValueError, match="Expected counterfactual to be one of random; got 'abc'"):
        draw_pairs(load_case("3"), 6, 3, "abc")
