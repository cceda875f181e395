"""The packaged models: their weights differ, and their certificates say what is claimed."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_dataset.models import model_path
from interpbench_dataset.packaged import UNTRAINED, packaged_folder
from interpbench_jax import Case, load_case, packaged_cases
from interpbench_jax.cases import CASES, RASP_CASES, Recipe
from interpbench_jax.certificates import read_certificate
from interpbench_jax.weights import digest_weights


def recipe_of(case: Case) -> Recipe:
    """The recipe that a model was trained with, as its provenance says."""
    record = case.provenance["recipe"]
    assert isinstance(record, dict)
    # The only setting that is newer than some of the models.
    assert {field.name for field in fields(Recipe)} - record.keys() <= {"hides_tokens"}
    return Recipe.from_record(record)


def test_no_two_cases_share_weights() -> None:
    cases = [load_case(case_id) for case_id in packaged_cases()]
    trained = [case_id for case_id in CASES if case_id not in UNTRAINED]
    assert [case.case_id for case in cases] == trained
    assert UNTRAINED.keys() < CASES.keys()
    assert len({digest_weights(case.weights) for case in cases}) == len(cases)
    for case in cases:
        for other in cases:
            if case.case_id < other.case_id and case.config == other.config:
                name = "blocks.0.mlp.W_in"
                assert not np.allclose(case.weights[name], other.weights[name], atol=1e-2)


@pytest.mark.parametrize("case_id", RASP_CASES)
def test_the_certificates_of_the_rasp_cases_pass(case_id: str) -> None:
    certificate = read_certificate(packaged_folder() / model_path(case_id))
    assert certificate.weights_sha256 == digest_weights(load_case(case_id).weights)
    assert certificate.failures() == ()
    assert {area for areas in certificate.edges.auc.values() for area in areas.values()} == {1.0}
    for name in ("qkv", "head"):
        truths = {(edge.src, edge.dst): edge.truth for edge in certificate.edges.edges[name]}
        expected = CASES[case_id].complete_circuit.edge_truths(name)
        assert truths == {(str(e.src), str(e.dst)): truth for e, truth in expected.items()}


@pytest.mark.slow
@pytest.mark.versions
def test_the_certificates_of_the_current_release_pass() -> None:
    current = [case_id for case_id in packaged_cases() if CASES[case_id].releases == ("current",)]
    assert len(current) >= 73
    for case_id in current:
        case, certificate = (
            load_case(case_id),
            read_certificate(packaged_folder() / model_path(case_id)),
        )
        assert certificate.weights_sha256 == digest_weights(case.weights)
        assert certificate.failures() == ()
        assert recipe_of(case) == CASES[case_id].recipe


@pytest.mark.slow
def test_the_certificates_of_the_pilot_pass() -> None:
    pilot = [case_id for case_id in packaged_cases() if CASES[case_id].releases == ("pilot",)]
    ideas = {case_id.rpartition("-")[0] for case_id in pilot}
    assert len(pilot) == 12 and ideas == {"leak", "rare", "two-tasks"}
    for case_id in pilot:
        case, task = load_case(case_id), CASES[case_id]
        certificate = read_certificate(packaged_folder() / model_path(case_id))
        assert certificate.weights_sha256 == digest_weights(case.weights)
        assert certificate.leak == task.leak and certificate.failures() == ()
        assert case.truth() == task.complete_circuit
        assert recipe_of(case) == task.recipe


@pytest.mark.parametrize("case_id", ["ioi", "ioi_next_token"])
def test_what_the_certificates_of_the_language_models_say(case_id: str) -> None:
    """They fail for the reasons that docs/truth.md gives, and for no others."""
    certificate = read_certificate(packaged_folder() / model_path(case_id))
    assert certificate.weights_sha256 == digest_weights(load_case(case_id).weights)
    assert certificate.accuracy == certificate.sequence_accuracy == 1
    assert {area for areas in certificate.edges.auc.values() for area in areas.values()} == {1.0}
    assert certificate.iia["s_inhibition"] > 0.97
    assert all(share == 1 for name, share in certificate.iia.items() if name != "s_inhibition")
    assert min(certificate.edge_accuracy.values()) > 0.96
    assert min(certificate.strict_accuracy.values()) == 1
    alone = certificate.circuit_alone
    assert min(alone.edges_mean, alone.edges_resample, alone.nodes_mean, alone.nodes_resample) == 1
    edges = certificate.edges.edges["qkv"]
    for measure, n_above in (("effect", 0), ("centred", 3)):
        inside, outside = (
            np.abs([getattr(edge, measure) for edge in edges if edge.truth == truth])
            for truth in ("in", "out")
        )
        assert (outside > 0.01 * np.median(inside)).sum() == n_above
        assert outside.max() < 0.03 * np.median(inside) < inside.min()


@pytest.mark.slow
@pytest.mark.parametrize("case_id", RASP_CASES)
def test_a_padded_input_gives_what_it_gives_alone(case_id: str) -> None:
    """This holds in every case, including those with bidirectional attention."""
    case = load_case(case_id)
    pairs = RASP_CASES[case_id].sample(24, seed=3, variable_length=True)
    pad = RASP_CASES[case_id].pad_id
    run = jax.jit(type(case.model).__call__)
    padded = np.asarray(run(case.model, jnp.asarray(pairs.input_ids)))
    lengths = (pairs.input_ids != pad).sum(axis=1)
    assert lengths.min() < lengths.max()
    # Each length takes a program of its own.
    for length in np.quantile(lengths, [0, 0.5, 1], method="nearest").tolist():
        rows = lengths == length
        alone = np.asarray(run(case.model, jnp.asarray(pairs.input_ids[rows, :length])))
        np.testing.assert_allclose(padded[rows, :length], alone, rtol=0, atol=2e-5)
        assert not pairs.is_scored[rows, length:].any()
