"""Which inputs commands patch between."""

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
    np.testing.assert_array_equal(drawn.clean, own.input_ids)
    np.testing.assert_array_equal(drawn.corrupted, own.corrupted_input_ids)
    assert drawn.targets is not None and drawn.targets.shape == (6, 16, 2)
    np.testing.assert_array_equal(drawn.targets, own.metric_targets)
    assert (drawn.first_scored, drawn.metric) == (15, "logit_diff")
    assert (counterfactual or "abc") in drawn.description


@pytest.mark.parametrize("counterfactual", [None, "random"])
def test_other_cases_draw_uniformly(counterfactual: str | None) -> None:
    case = load_case("3")
    drawn, uniform = draw_pairs(case, 6, 3, counterfactual), uniform_pairs(case, 6, 3)
    np.testing.assert_array_equal(drawn.clean, uniform.clean)
    np.testing.assert_array_equal(drawn.corrupted, uniform.corrupted)
    assert (drawn.targets, drawn.first_scored, drawn.metric) == (None, 1, None)


def test_what_there_is_not_is_refused(ioi: Case) -> None:
    with pytest.raises(ValueError, match="out of abc, swapped, random, upstream, got 'other'"):
        draw_pairs(ioi, 6, 3, "other")
    with pytest.raises(ValueError, match="Expected no --counterfactual, or 'random', for case '3'"):
        draw_pairs(load_case("3"), 6, 3, "abc")
