"""Accuracies compared with a plain computation: one hooked run per interchange, and NumPy."""

import dataclasses
from collections.abc import Iterable, Mapping

import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import build_model, run_with_cache, run_with_hooks
from interpbench_jax.cases import CASES, Task
from interpbench_jax.interventions import masked_forward, replacement_outputs
from interpbench_jax.masks import edge_mask
from interpbench_jax.model import Transformer
from interpbench_jax.sites import Edge, Kind, Node
from interpbench_jax.targets import UNSCORED
from interpbench_jax.training import evaluation
from interpbench_jax.training.evaluation import (
    Accuracies,
    held_out_pairs,
    is_right,
    prepare_examination,
)
from interpbench_jax.universes import universe
from tests.fixtures import random_weights
from tests.training.tiny_tasks import PROMPTS, SHARES, TREND, VARIED


def share_by_hooks(
    task: Task,
    model: Transformer,
    pairs: tuple[np.ndarray, np.ndarray],
    nodes: tuple[Node, ...],
    targets: np.ndarray,
    atol: float,
) -> float:
    """Return the share of right outputs when these nodes carry the source's activations."""
    base, source = map(jnp.asarray, pairs)
    _, cached = run_with_cache(model, source, nodes)
    hooks = {node: lambda _, name=str(node): cached[name] for node in nodes}
    logits = np.asarray(run_with_hooks(model, base, hooks))
    n_right = n_scored = 0
    for row in range(len(logits)):
        for pos in range(task.first_scored, logits.shape[1]):
            if task.is_categorical:
                n_right += int(logits[row, pos].argmax()) == targets[row, pos]
            else:
                n_right += abs(logits[row, pos, 0] - targets[row, pos]) <= atol
            n_scored += 1
    return n_right / n_scored


@pytest.mark.slow
@pytest.mark.parametrize("task", [TREND, SHARES], ids=["classes", "numbers"])
@pytest.mark.usefixtures("x64")
def test_every_share_is_that_of_a_plain_reading(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "CHUNK", 32)  # two chunks, the last of them padded
    model = build_model(task.config, random_weights(task.config, np.float64))
    pairs, atol = held_out_pairs(task, 45, 0, "validation"), 0.3
    found = prepare_examination(task, *pairs, atol)(model)

    def share(nodes: tuple[Node, ...], targets: object) -> float:
        return share_by_hooks(task, model, pairs, nodes, np.asarray(targets), atol)

    model_of_task, plain = task.high_level, task.high_level.targets(pairs[0])

    def share_by_masks(fine_edges: Iterable[Edge], targets: object) -> float:
        keep = 1.0 - edge_mask(fine_edges, task.config.n_layers, task.config.n_heads)
        replacement = replacement_outputs(model, pairs[1])
        logits = masked_forward(model, pairs[0], keep, replacement)
        right = np.asarray(is_right(logits, jnp.asarray(targets), atol))
        return float(right[:, task.first_scored :].mean())

    sets = evaluation.joint_sets(tuple(task.alignment))
    assert len(sets) == 2 ** len(task.alignment) - 1 - len(task.alignment)
    every = universe("qkv", task.config.n_layers, task.config.n_heads).edges
    expected = Accuracies(
        accuracy=share((), plain),
        iia={
            node: share(aligned, task.high_level.targets(*pairs, node))
            for node, aligned in task.alignment.items()
        },
        joint={
            nodes: share(
                tuple(own for node in nodes for own in task.alignment[node]),
                model_of_task.targets(*pairs, nodes),
            )
            for nodes in sets
        },
        edges={
            edge: share_by_masks(fine, model_of_task.targets(*pairs, edge=edge))
            for edge, fine in task.edge_alignment.items()
        },
        strict={node: share((node,), plain) for node in task.nodes_not_in_circuit},
        outside_edges=share_by_masks(set(every) - task.complete_circuit.fine_edges, plain),
    )
    assert 0 < expected.accuracy < 1
    assert found.accuracy == pytest.approx(expected.accuracy, abs=1e-6)
    assert found.iia == pytest.approx(expected.iia, abs=1e-6)
    assert found.strict == pytest.approx(expected.strict, abs=1e-6)
    assert found.joint == pytest.approx(expected.joint, abs=1e-6)
    assert found.edges == pytest.approx(expected.edges, abs=1e-6)
    assert found.outside_edges == pytest.approx(expected.outside_edges, abs=1e-6)
    assert len({*found.iia.values(), *found.strict.values()}) > 2
    every_share = [share for shares in vars(expected).values() for share in _values(shares)]
    assert found.lowest == pytest.approx(min(every_share), abs=1e-6)


def _values(shares: float | Mapping[object, float]) -> list[float]:
    return list(shares.values()) if isinstance(shares, Mapping) else [shares]


@pytest.mark.slow
def test_what_is_not_to_count_does_not() -> None:
    """Padding is not scored, nor are outputs that mix several classes."""
    base, source = held_out_pairs(VARIED, 40, 0, "test")
    questions = prepare_examination(VARIED, base, source).questions
    targets = np.asarray(questions.targets)
    is_padding = base == VARIED.pad_id
    assert is_padding.any() and (targets[0][:, :40][:, is_padding] == UNSCORED).all()
    assert (targets[0][:, :40][:, ~is_padding][:, 1:] != UNSCORED).any()
    task = CASES["11"]
    base, source = held_out_pairs(task, 40, 0, "test")
    examination = prepare_examination(task, base, source)
    edge = next(edge for edge in examination.edges if "v_input" in str(edge))
    run = -len(examination.edges) - 1 + examination.edges.index(edge)
    mixed = np.asarray(task.high_level.is_mixed(base, source, edge=edge))
    scored = np.asarray(examination.questions.targets)[0, run, :40, 1:] != UNSCORED
    np.testing.assert_array_equal(scored, ~mixed[:, 1:])
    assert 0 < scored.mean() < 1


def test_few_pairs_are_not_filled_up() -> None:
    pairs = held_out_pairs(TREND, 40, 0, "validation")
    assert prepare_examination(TREND, *pairs).questions.base.shape == (1, 40, TREND.max_seq_len)


def test_sets_of_components() -> None:
    nodes = tuple(Node(Kind.HEAD, layer, head) for layer in range(3) for head in range(4))
    assert evaluation.joint_sets(nodes[:1]) == ()
    assert evaluation.joint_sets(nodes[:2]) == (nodes[:2],)
    assert len(evaluation.joint_sets(nodes[:6])) == 2**6 - 1 - 6
    many = evaluation.joint_sets(nodes)
    assert len(set(many)) == evaluation.MOST_JOINT and min(map(len, many)) >= 2
    assert many == evaluation.joint_sets(nodes)


@pytest.mark.slow
def test_rows_that_fill_up_a_chunk_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "CHUNK", 4)
    model = build_model(TREND.config, random_weights(TREND.config))
    base, source = held_out_pairs(TREND, 7, 0, "test")
    examination = prepare_examination(TREND, base, source)
    is_counted = np.asarray(examination.questions.targets != UNSCORED)[:, 0].reshape(8, -1)
    assert is_counted[:7, 1:].all() and not is_counted[7:].any()
    n_scored = 7 * (TREND.max_seq_len - 1)
    found = examination(model)
    for share in (found.accuracy, *found.iia.values(), *found.strict.values()):
        assert share * n_scored == pytest.approx(round(share * n_scored), abs=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_only_the_last_position_of_a_prompt_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model is hardly ever right, so its own answers are used as targets."""
    monkeypatch.setattr(evaluation, "CHUNK", 16)
    task = PROMPTS
    model = build_model(task.config, random_weights(task.config, np.float64))
    base, source = held_out_pairs(task, 21, 0, "validation")
    examination = prepare_examination(task, base, source)
    assert examination.first_scored == 15
    n_nodes = len(task.alignment) + len(examination.joint) + len(task.nodes_not_in_circuit)
    n_runs = 1 + n_nodes + len(examination.edges) + 1
    # Two chunks of one size, the second of them filled up with one row.
    assert examination.questions.targets.shape == (2, n_runs, 11, 16)
    own = np.array(model(jnp.asarray(base)).argmax(axis=-1))
    own[:, :-1] = UNSCORED
    rows = np.minimum(np.arange(22), 20).reshape(2, 11)
    asked = np.repeat(own[rows][:, None], n_runs, axis=1).astype(np.int32)
    asked[1, :, 10:] = UNSCORED
    questions = examination.questions._replace(targets=jnp.asarray(asked))
    found = dataclasses.replace(examination, questions=questions)(model)
    shares = {**found.iia, **found.strict}
    assert found.accuracy == 1
    # Hooked runs are compiled one by one, so only some components and some outside nodes are run.
    some = [*task.alignment][::2] + [*task.nodes_not_in_circuit][::5]
    expected = {
        node: share_by_hooks(task, model, (base, source), (node,), own, 0.0) for node in some
    }
    assert {node: shares[node] for node in some} == pytest.approx(expected, abs=1e-6)
    assert len(set(expected.values())) > 2
    for share in shares.values():
        assert share * 21 == pytest.approx(round(share * 21), abs=1e-4)


def test_what_is_right() -> None:
    numbers = jnp.asarray([[[0.0], [1.04], [1.06], [jnp.nan]]])
    targets = jnp.ones((1, 4))
    assert is_right(numbers, targets, 0.05).tolist() == [[False, True, False, False]]
    assert is_right(numbers, targets, 0.07).tolist() == [[False, True, True, False]]
    nan, low = jnp.nan, -jnp.inf
    logits = jnp.asarray([[[0.0, 1.0], [2.0, 1.0], [0.0, low], [nan, nan], [0.0, nan]]])
    classes = jnp.asarray([[1, 1, 0, 0, 1]], jnp.int32)
    assert is_right(logits, classes, 0.05).tolist() == [[True, False, True, False, False]]


def test_atol_is_the_recipe_unless_it_is_given() -> None:
    recipe = dataclasses.replace(SHARES.recipe, atol=0.125)
    task = dataclasses.replace(SHARES, recipe=recipe)
    pairs = held_out_pairs(task, 2, 0)
    assert prepare_examination(task, *pairs).atol == 0.125
    assert prepare_examination(task, *pairs, 0.25).atol == 0.25


def test_pairs_that_are_refused() -> None:
    base, source = held_out_pairs(TREND, 4, 0)
    for wrong in ((base[:0], source[:0]), (base, source[:3])):
        with pytest.raises(ValueError, match="Expected pairs of inputs of one shape"):
            prepare_examination(TREND, *wrong)
