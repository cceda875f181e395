"""Certification: known answers for a handmade model, and failures for broken ones."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from interpbench_dataset.models import read_certificate as read_for_card
from interpbench_jax import certify, read_certificate
from interpbench_jax.case import Case
from interpbench_jax.cases import CASES, RELEASES, RaspTask, Task
from interpbench_jax.certificates import Certificate, NodeEffect
from interpbench_jax.certificates.alone import edges_mask, nodes_mask
from interpbench_jax.certificates.parts import MEASURES
from interpbench_jax.certificates.rounding import round_effect, round_share
from interpbench_jax.circuit import Circuit
from interpbench_jax.masks import edge_indices
from interpbench_jax.rasp import Map, lookup, numerical, tokens
from interpbench_jax.sites import Kind, Node, parse_edge
from interpbench_jax.storage import write_file
from interpbench_jax.training.evaluation import held_out_pairs
from interpbench_jax.weights import digest_weights, encode_weights, weight_shapes
from tests.certificates.commands import run_command
from tests.certificates.emoji import (
    KL,
    SCALE,
    TASK,
    make_case,
    make_leaking_case,
    make_weights,
)

N = 256
MLP = "blocks.0.mlp.hook_post"
# Means of float32 numbers of order 1, rounded to six digits.
RTOL = 1e-5
MLP_NODE = Node(Kind.MLP_POST, 0)


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return certify(make_case(), n=N)


def share_of_other_moods() -> float:
    """Return how often a source's mood differs from its base's; all tokens' moods differ."""
    base, source = held_out_pairs(TASK, N, 1)
    return float((base != source)[:, 1:].mean())


# Known answers


@pytest.mark.slow
def test_the_right_model_does_everything_right(certificate: Certificate) -> None:
    assert certificate.accuracy == certificate.sequence_accuracy == 1
    assert certificate.iia == {"mood": 1}
    assert set(certificate.strict_accuracy) == {str(node) for node in TASK.nodes_not_in_circuit}
    assert set(certificate.strict_accuracy.values()) == {1}
    assert certificate.joint_iia == {}  # there is only one variable
    assert set(certificate.edge_accuracy.values()) == {1} and len(certificate.edge_accuracy) == 2
    assert certificate.lowest == 1 and certificate.failures() == ()
    assert certificate.alignment == {"mood": (MLP,)}
    assert set(dataclasses.asdict(certificate.circuit_alone).values()) == {1}


# The distance between the logits of two moods.
DISTANCE = SCALE * 3**0.5 * (3 / 2) ** 0.5


def test_effects_of_nodes(certificate: Certificate) -> None:
    share = share_of_other_moods()
    assert certificate.metric == "kl" and certificate.atol is None
    assert certificate.nodes[MLP].effect == pytest.approx(share * KL, rel=RTOL)
    assert certificate.nodes[MLP].centred == pytest.approx(share * DISTANCE, rel=RTOL)
    assert certificate.nodes[MLP].accuracy_drop == pytest.approx(share, rel=RTOL)
    assert certificate.smallest_inside == certificate.nodes[MLP]
    # A node whose output weights are zero does nothing at all.
    assert certificate.largest_outside == NodeEffect(0.0, 0.0, 0.0)
    assert len(certificate.nodes) == TASK.config.n_layers * (TASK.config.n_heads + 1)


def test_effects_of_edges(certificate: Certificate) -> None:
    edges, share = certificate.edges, share_of_other_moods()
    assert edges.n == N
    assert {name: len(found) for name, found in edges.edges.items()} == {"qkv": 137, "head": 53}
    for name in ("qkv", "head"):
        # Both edges of the circuit have the node's effect.
        inside = [edge for edge in edges.edges[name] if edge.truth == "in"]
        assert len(inside) == 2 and edges.constant(name) == ()
        for edge in inside:
            assert edge.effect == pytest.approx(share * KL, rel=RTOL)
            assert edge.centred == pytest.approx(share * DISTANCE, rel=RTOL)
            assert edge.accuracy_drop == pytest.approx(share, rel=RTOL)
        for measure in MEASURES:
            found = edges.separation(name, measure)
            assert found is not None and found.outside_share == 0
            assert found.clearance > 1e4
            assert edges.silent(name, measure, 0.5) == edges.unexpected(name, measure, 0.0) == ()
    areas = {"qkv": 1.0, "qkv-merged": 1.0, "head": 1.0, "head-no-embed": 1.0}
    assert edges.auc == {"effect": areas, "centred": areas}
    # The floor is a few rounding errors of the largest centred logit, SCALE.
    assert edges.noise_floor == pytest.approx(16 * 2.0**-23 * SCALE, rel=0.1)


def test_what_was_measured_on(certificate: Certificate, tmp_path: Path) -> None:
    base, _ = held_out_pairs(TASK, N, 1)
    assert (certificate.case_id, certificate.n, certificate.seed) == ("36", N, 1)
    assert certificate.distinct_inputs == len({row.tobytes() for row in base}) < N
    assert certificate.split_inputs == len(TASK.all_inputs("test"))
    assert certificate.weights_sha256 == digest_weights(make_weights())
    assert {"python", "jax", "interpbench-jax"} <= set(certificate.versions)
    write_file(tmp_path / "model.safetensors", encode_weights(make_weights()))
    certificate.save(tmp_path)
    read = read_for_card(tmp_path / "certificate.json")
    assert (read.accuracy, read.iia) == (1, {"mood": 1})
    assert read.strict_accuracy == certificate.strict_accuracy
    assert read.weights_sha256 == certificate.weights_sha256


@pytest.mark.slow
def test_the_command_measures_the_same(
    certificate: Certificate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_case().save(tmp_path / "36")
    run_command("certify", str(folder), "--n", str(N), "--json", code=0)
    assert read_certificate(folder) == certificate
    shown = json.loads(capsys.readouterr().out)
    assert shown["passed"] is True and shown["written"] == str(folder / "certificate.json")
    assert shown["certificate"] == json.loads(certificate.to_json())


@pytest.mark.slow
def test_again_gives_the_same_text(certificate: Certificate, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    again = certify(make_case(), n=N, progress=lambda done, total: steps.append((done, total)))
    assert again.to_json() == certificate.to_json()
    assert steps == [(done, 4) for done in range(5)]
    again.save(tmp_path)
    assert read_certificate(tmp_path) == certificate


# Broken models


@pytest.mark.slow
def test_a_random_circuit_node_breaks_it() -> None:
    weights = make_weights()
    shape = weights["blocks.0.mlp.W_out"].shape
    weights["blocks.0.mlp.W_out"][:] = np.random.default_rng(3).standard_normal(shape)
    broken = certify(make_case(weights), n=N)
    assert broken.accuracy < 0.9 and broken.iia["mood"] < 0.9
    assert broken.sequence_accuracy < broken.accuracy
    failures = broken.failures()
    assert any(failure.startswith("Accuracy is 0.") for failure in failures)
    assert any(failure.startswith("IIA of mood is 0.") for failure in failures)


def test_a_dead_model_has_silent_edges() -> None:
    weights = make_weights()
    weights["blocks.0.mlp.W_out"][:] = 0
    dead = certify(make_case(weights), n=N)
    assert dead.smallest_inside == NodeEffect(0.0, 0.0, 0.0)
    silent = dead.edges.silent("head", "effect", 0.01)
    assert {str(edge) for edge in silent} == {
        "blocks.0.hook_resid_pre -> blocks.0.hook_mlp_out",
        "blocks.0.hook_mlp_out -> blocks.1.hook_resid_post",
    }
    assert dead.edges.unexpected("head", "effect", 0.0) == ()
    # No effect is above the floor, so there is no order.
    assert set(dead.edges.auc["effect"].values()) == {None}
    assert any("cutting it has no effect above the noise floor" in each for each in dead.failures())


@pytest.mark.slow
def test_a_leak_is_found() -> None:
    """A variable that also takes a path through an MLP outside the circuit is found."""
    leaking = certify(make_leaking_case(), n=N)
    outside = leaking.largest_outside
    assert outside is not None and outside.effect > 0.1
    # Some resampling undoes the damage, but never for most inputs.
    assert leaking.strict_accuracy["blocks.1.mlp.hook_post"] < 0.9
    assert leaking.lowest_strict < 0.9
    unexpected = leaking.edges.unexpected("head", "effect", 0.01)
    assert {str(edge) for edge in unexpected} == {
        "blocks.0.hook_resid_pre -> blocks.1.hook_mlp_out",
        "blocks.1.hook_mlp_out -> blocks.1.hook_resid_post",
    }
    effects = [edge.effect for edge in unexpected]
    assert effects == sorted(effects, reverse=True)
    # The mean of the leaking output is written everywhere and exceeds the circuit's output.
    assert leaking.circuit_alone.edges_mean < leaking.accuracy
    areas = leaking.edges.auc["effect"].values()
    assert all(area is not None and area < 1 for area in areas)
    text = "\n".join(leaking.failures())
    assert "blocks.1.hook_mlp_out -> blocks.1.hook_resid_post is outside the circuit" in text
    assert "Strict accuracy with blocks.1.mlp.hook_post resampled is" in text


@pytest.mark.slow
def test_what_makes_a_sure_answer_surer_is_found() -> None:
    """An MLP outside the circuit scales the logits: no answer changes and KL is near 0."""
    weights = make_weights()
    weights["unembed.W_U"] *= 10
    sure = certify(make_case(weights), n=N)
    assert sure.failures() == ()
    # Units in their linear range pass on half of the stream.
    weights["blocks.1.mlp.W_in"][2:4, :2] = np.eye(2)
    weights["blocks.1.mlp.b_in"][:2] = 30
    weights["blocks.1.mlp.W_out"][:2, 2:4] = 0.5 * np.eye(2)
    weights["blocks.1.mlp.b_out"][2:4] = -15
    scaling = certify(make_case(weights), n=N)
    assert scaling.lowest == 1
    found = scaling.edges.separation("head", "effect")
    assert found is not None and found.outside_share < 1e-6
    failures = scaling.failures()
    assert failures and all("in centred logits" in failure for failure in failures)
    assert any("blocks.1.hook_mlp_out -> blocks.1.hook_resid_post" in each for each in failures)


@pytest.mark.slow
def test_a_copy_that_nobody_reads_is_found() -> None:
    """Two MLPs should compute the variable, but the output reads only one of them."""
    task = dataclasses.replace(TASK, moved=((MLP_NODE, (MLP_NODE, Node(Kind.MLP_POST, 1))),))
    case = dataclasses.replace(make_case(), circuit=task.complete_circuit)
    ignored = certify(case, n=N, task=task)
    assert ignored.lowest == 1  # node by node, nothing is wrong
    failures = ignored.failures()
    assert failures and all("is in the circuit, but cutting it has no" in f for f in failures)
    silent = {str(edge) for edge in ignored.edges.silent("head", "effect", 0.01)}
    assert silent == {
        "blocks.0.hook_resid_pre -> blocks.1.hook_mlp_out",
        "blocks.1.hook_mlp_out -> blocks.1.hook_resid_post",
    }


# Other tasks

OWN = RaspTask(
    case_id="own",
    description="How much each letter is worth.",
    program=numerical(Map(lookup({"a": 0.25, "b": 0.5, "c": 1.0}), tokens, name="worth")),
    vocab=("a", "b", "c"),
    max_seq_len=6,
    d_model=4,
    n_layers=1,
    n_heads=1,
)


def zeros(task: Task) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, shape in weight_shapes(task.config).items()}


@pytest.mark.slow
def test_a_regression_of_ones_own() -> None:
    weights = zeros(OWN)
    weights["unembed.b_U"][:] = 0.5
    case = Case(case_id="own", config=OWN.config, weights=weights, circuit=None)
    with pytest.raises(ValueError, match="Expected a case whose task is declared"):
        certify(case)
    found = certify(case, n=40, seed=5, task=OWN)
    assert (found.case_id, found.seed, found.metric) == ("own", 5, "l2")
    assert found.atol == OWN.recipe.atol
    base, source = held_out_pairs(OWN, 40, 5)
    # It always answers 0.5: right for b, and under interchange for sources that have b.
    is_b = OWN.token_ids["b"]
    assert found.accuracy == round_share(float((base == is_b)[:, 1:].mean()))
    assert found.iia == {"worth": round_share(float((source == is_b)[:, 1:].mean()))}
    assert found.strict_accuracy == {"blocks.0.attn.hook_result[0]": found.accuracy}
    assert found.sequence_accuracy == 0
    assert set(dataclasses.asdict(found.circuit_alone).values()) == {found.accuracy}
    assert found.split_inputs == len(OWN.all_inputs("test")) >= found.distinct_inputs


@pytest.mark.parametrize("case_id", RELEASES["1.0.0"])
def test_components_have_names_of_their_own(case_id: str) -> None:
    task = CASES[case_id]
    names = task.component_names
    assert list(names) == list(task.alignment)
    assert len(set(names.values())) == len(names) and all(names.values())


# Masks


@pytest.mark.parametrize("case_id", RELEASES["1.0.0"])
def test_masks_keep_what_the_program_uses(case_id: str) -> None:
    task = CASES[case_id]
    shape = (task.config.n_layers, task.config.n_heads)
    for mask in (edges_mask(task), nodes_mask(task)):
        assert set(np.unique(mask)) == {0.0, 1.0}
        for dst, src in edge_indices(task.complete_circuit.fine_edges, *shape):
            assert mask[dst, src] == 1


def test_masks_by_hand() -> None:
    kept = {
        "hook_embed -> blocks.0.hook_mlp_in",
        "hook_pos_embed -> blocks.1.hook_q_input[2]",
        "hook_pos_embed -> blocks.1.hook_k_input[2]",
        "blocks.0.hook_mlp_out -> blocks.1.hook_v_input[2]",
        "blocks.1.attn.hook_result[2] -> blocks.1.hook_resid_post",
    }
    expected = np.zeros_like(edges_mask(CASES["3"]))
    for dst, src in edge_indices([parse_edge(name) for name in kept], 2, 4):
        expected[dst, src] = 1
    np.testing.assert_array_equal(edges_mask(CASES["3"]), expected)
    # The writers are two embeddings, then four heads and an MLP per layer.
    inside = [0, 1, 6, 9]
    np.testing.assert_array_equal(np.flatnonzero(nodes_mask(CASES["3"])[0]), inside)
    assert (nodes_mask(CASES["3"]) == nodes_mask(CASES["3"])[:1]).all()


# Rounding


def test_rounding() -> None:
    assert round_share(1.0) == 1 and round_share(1 - 1e-9) == 0.999999
    assert round_share(0.12345678) == 0.123457
    assert round_effect(21.90884999) == 21.9088 and round_effect(123456789.0) == 123457000
    assert str(round_effect(-1e-12)) == "0.0"
    assert round_effect(-0.25) == -0.25


# Errors


@pytest.mark.usefixtures("unchecked")
def test_wrong_input() -> None:
    case = make_case()
    assert case.circuit is not None and case.vocab is not None
    for n in (0, -3):
        with pytest.raises(ValueError, match=f"at least 1 pair, got n={n}"):
            certify(case, n=n)
    with pytest.raises(TypeError, match=r"to be an int, got 2\.5"):
        certify(case, n=2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="Expected the seed to be at least 0"):
        certify(case, n=3, seed=-1)
    with pytest.raises(ValueError, match="expected a model with d_vocab 10, as task '11'"):
        certify(case, n=3, task=CASES["11"])
    swapped = (*case.vocab[:3], case.vocab[4], case.vocab[3])
    with pytest.raises(ValueError, match="in the order of their ids"):
        certify(dataclasses.replace(case, vocab=swapped), n=3)
    edge = parse_edge("hook_embed -> blocks.1.hook_mlp_in")
    with pytest.raises(ValueError, match="expected the circuit of task '36', got another"):
        certify(dataclasses.replace(case, circuit=Circuit(2, 4, (edge,))), n=3)
    short = dataclasses.replace(TASK, max_seq_len=12)
    with pytest.raises(ValueError, match="with at least 12 positions"):
        certify(case, n=3, task=short)


def test_a_task_too_large_for_its_model() -> None:
    task = dataclasses.replace(TASK, moved=((MLP_NODE, (Node(Kind.MLP_POST, 5),)),))
    with pytest.raises(ValueError, match="a model with 2 layers of 4 heads"):
        certify(make_case(), n=3, task=task)


def test_a_split_of_one_input_gives_nothing_to_interchange() -> None:
    letters = tuple("abcdefghijklmnopqrstuv")
    task = dataclasses.replace(
        TASK,
        program=Map(lookup(dict.fromkeys(letters, "neutral")), tokens),
        vocab=letters,
        min_seq_len=2,
        max_seq_len=2,
    )
    assert len(task.all_inputs("test")) == 1
    weights = zeros(task)
    case = Case(case_id="36", config=task.config, weights=weights, circuit=None)
    with pytest.raises(ValueError, match="at least two inputs in the test split"):
        certify(case, n=3, task=task)


def test_the_file_is_plain(certificate: Certificate) -> None:
    described = json.loads(certificate.to_json())
    assert list(described)[:3] == ["format", "version", "case_id"]
    assert described["nodes"][MLP]["accuracy_drop"] > 0.5
