"""Inputs that are replaced by themselves."""

import numpy as np
import pytest

from interpbench_jax import Case, edge_auc_by_universe, load_case, sweep_edges, sweep_nodes
from interpbench_jax.metrics import Logits, PerInput, logit_difference_drop
from interpbench_jax.sweeps import sweep_many
from interpbench_jax.targets import Targets


@pytest.fixture(scope="module")
def case() -> Case:
    return load_case("34")


@pytest.fixture(scope="module")
def tokens(case: Case) -> np.ndarray:
    return case.task.sample(30, seed=0).input_ids


@pytest.mark.slow
def test_they_have_no_effect(case: Case, tokens: np.ndarray) -> None:
    found = sweep_edges(case.model, tokens, tokens, metric="logit_diff")
    assert not found.effects.any() and case.circuit is not None
    areas = edge_auc_by_universe(abs(found.effects), case.circuit, "qkv")
    assert set(areas.values()) == {0.5}
    assert not sweep_nodes(case.model, tokens, tokens, positions="each").effects.any()
    (many,) = sweep_many([case.model], [tokens], [tokens])
    assert not many.effects.any()


def test_other_ablations_have_theirs(case: Case, tokens: np.ndarray) -> None:
    several = sweep_edges(case.model, tokens, tokens, ablation=("zero", "resample", "mean"))
    alone = sweep_edges(case.model, tokens, tokens, ablation="zero")
    np.testing.assert_allclose(several.effects[0], alone.effects, atol=1e-6)
    assert [effects.any() for effects in several.effects] == [True, False, True]


def test_one_other_input_is_enough(case: Case, tokens: np.ndarray) -> None:
    other = tokens.copy()
    other[0] = tokens[(tokens != tokens[0]).any(axis=1)][0]
    assert sweep_edges(case.model, tokens, other).effects.max() > 0.01


def test_a_custom_metric_is_left_alone(case: Case, tokens: np.ndarray) -> None:
    def above_one(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
        return 1 + logit_difference_drop(logits, clean_logits, targets)

    found = sweep_edges(case.model, tokens, tokens, metric=above_one)
    np.testing.assert_allclose(found.effects, 1, atol=1e-4)
