"""The edges of a certificate: their effects are those of a sweep in the case's own metric."""

import dataclasses

import numpy as np
import pytest

from interpbench_dataset.loading import packaged_folder
from interpbench_dataset.models import model_path
from interpbench_jax import Objective, Pairs, random_model, read_certificate, sweep_edges
from interpbench_jax.cases import CASES
from interpbench_jax.certificates.alone import HeldOut
from interpbench_jax.certificates.edges import check_edges
from interpbench_jax.certificates.parts import EdgeCheck, EdgeEffect
from tests.certificates.emoji import TASK


@pytest.mark.slow
def test_effects_are_in_the_cases_own_metric() -> None:
    """Effects agree with a sweep's, including distractors and signs."""
    model, rng = random_model(TASK.config, seed=3), np.random.default_rng(0)
    drawn = TASK.sample(32, 0, split="test")
    n_classes = TASK.config.d_vocab_out
    distractors = (drawn.target + rng.integers(1, n_classes, drawn.target.shape)) % n_classes
    compared = np.stack([drawn.metric_targets, np.where(drawn.is_scored, distractors, -1)], axis=-1)
    clean, corrupted = drawn.input_ids, drawn.corrupted_input_ids
    found = check_edges(model, TASK, HeldOut(clean, corrupted, compared, "logit_diff", 0.0))
    pairs = Pairs(clean, corrupted, Objective("logit_diff", compared, drawn.is_scored))
    for name in ("qkv", "head"):
        swept = sweep_edges(model, pairs, universe=name)
        effects = [edge.effect for edge in found.edges[name]]
        np.testing.assert_allclose(effects, swept.effects, rtol=1e-5, atol=2e-6)
        assert min(effects) < 0 < max(effects)


@pytest.mark.parametrize("case_id", ["ioi", "ioi_next_token"])
def test_language_models_are_certified_by_logit_difference(case_id: str) -> None:
    certificate = read_certificate(packaged_folder() / model_path(case_id))
    assert certificate.metric == CASES[case_id].metric == "logit_diff"


def test_a_negative_effect_counts_by_its_size() -> None:
    inside = EdgeEffect("a", "b", "in", 4.0, 4.0, 0.5)
    helps = EdgeEffect("c", "d", "out", -2.0, 2.0, 0.0)
    check = EdgeCheck(n=8, noise_floor=1e-6, auc={}, edges={"head": (inside, helps)})
    found = check.separation("head", "effect")
    assert found is not None and found.largest == helps
    assert (found.outside_share, found.clearance) == (0.5, 2.0)
    assert check.unexpected("head", "effect", 0.01) == (helps,)
    hurt = dataclasses.replace(inside, effect=-4.0)
    against = dataclasses.replace(check, edges={"head": (hurt, helps)})
    assert against.silent("head", "effect", 0.0) == ()
