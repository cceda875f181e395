"""Accuracies against a plain reading: one hooked run per interchange, and NumPy."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import build_model, run_with_cache, run_with_hooks
from interpbench_jax.cases import Task
from interpbench_jax.model import Transformer
from interpbench_jax.sites import Node
from interpbench_jax.training import evaluation
from interpbench_jax.training.evaluation import (
    Accuracies,
    held_out_pairs,
    is_right,
    prepare_examination,
)
from tests.fixtures import random_weights
from tests.training.tiny_tasks import PROMPTS, SHARES, TREND


def share_by_hooks(
    task: Task,
    model: Transformer,
    pairs: tuple[np.ndarray, np.ndarray],
    nodes: tuple[Node, ...],
    targets: np.ndarray,
    atol: float,
) -> float:
    """The share of right outputs where these nodes carry the source's activations."""
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
    monkeypatch.setattr(evaluation, "CHUNK", 32)  # two chunks, the last of them filled up
    model = build_model(task.config, random_weights(task.config, np.float64))
    pairs, atol = held_out_pairs(task, 45, 0, "validation"), 0.3
    found = prepare_examination(task, *pairs, atol)(model)

    def share(nodes: tuple[Node, ...], targets: object) -> float:
        return share_by_hooks(task, model, pairs, nodes, np.asarray(targets), atol)

    plain = task.high_level.targets(pairs[0])
    expected = Accuracies(
        accuracy=share((), plain),
        iia={
            node: share(aligned, task.high_level.targets(*pairs, node))
            for node, aligned in task.alignment.items()
        },
        strict={node: share((node,), plain) for node in task.nodes_not_in_circuit},
    )
    assert 0 < expected.accuracy < 1
    assert found.accuracy == pytest.approx(expected.accuracy, abs=1e-6)
    assert found.iia == pytest.approx(expected.iia, abs=1e-6)
    assert found.strict == pytest.approx(expected.strict, abs=1e-6)
    assert len({*found.iia.values(), *found.strict.values()}) > 2
    lowest = min(expected.accuracy, *expected.iia.values(), *expected.strict.values())
    assert found.lowest == pytest.approx(lowest, abs=1e-6)
    assert found.lowest == min(found.accuracy, found.lowest_iia, found.lowest_strict)


@pytest.mark.slow
def test_rows_that_fill_up_a_chunk_do_not_count() -> None:
    model = build_model(TREND.config, random_weights(TREND.config))
    base, source = held_out_pairs(TREND, 3, 0, "test")
    examination = prepare_examination(TREND, base, source)
    assert examination.questions.is_real.shape[1] > 3
    assert int(examination.questions.is_real.sum()) == 3
    n_scored = 3 * (TREND.max_seq_len - 1)
    found = examination(model)
    for share in (found.accuracy, *found.iia.values(), *found.strict.values()):
        assert share * n_scored == pytest.approx(round(share * n_scored), abs=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_only_the_last_position_of_a_prompt_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of random weights is hardly ever right, so that its own answers are asked for."""
    monkeypatch.setattr(evaluation, "CHUNK", 16)
    task = PROMPTS
    model = build_model(task.config, random_weights(task.config, np.float64))
    base, source = held_out_pairs(task, 21, 0, "validation")
    examination = prepare_examination(task, base, source)
    assert examination.first_scored == 15
    n_runs = 1 + len(task.alignment) + len(task.nodes_not_in_circuit)
    assert examination.questions.targets.shape == (2, 1 + len(task.alignment), 16, 16)
    own = np.array(model(jnp.asarray(base)).argmax(axis=-1))
    # Right nowhere else, so that what is not to count would show.
    own[:, :-1] = (own[:, :-1] + 1) % task.config.d_vocab_out
    rows = np.minimum(np.arange(32), 20).reshape(2, 16)
    asked = np.repeat(own[rows][:, None], 1 + len(task.alignment), axis=1).astype(np.int32)
    questions = examination.questions._replace(targets=jnp.asarray(asked))
    found = dataclasses.replace(examination, questions=questions)(model)
    shares = {**found.iia, **found.strict}
    assert len(shares) == n_runs - 1 and found.accuracy == 1
    # Hooked runs are compiled one by one: some components, and some nodes outside.
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
