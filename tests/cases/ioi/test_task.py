"""The declarations of the two IOI cases."""

import dataclasses
import json
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.cases import CASES, IoiTask
from interpbench_jax.cases.case_ioi import TASK
from interpbench_jax.cases.case_ioi_next_token import TASK as NEXT_TOKEN
from interpbench_jax.config import TransformerConfig
from tests.fixtures import UPSTREAM, requires_upstream

FULL = TASK.in_full_vocabulary()


@pytest.fixture(scope="module")
def upstream_config() -> TransformerConfig:
    facts = json.loads((UPSTREAM / "ioi" / "facts.json").read_text(encoding="utf-8"))
    given = facts["transformer_cfg"]
    assert given.pop("positional_embedding_type") == "standard"
    return TransformerConfig.from_dict(given)


@requires_upstream
@pytest.mark.parametrize("task", [TASK, NEXT_TOKEN], ids=lambda task: task.case_id)
def test_the_config_is_upstreams(task: IoiTask, upstream_config: TransformerConfig) -> None:
    assert task.in_full_vocabulary().config == upstream_config
    smaller = dataclasses.replace(upstream_config, d_vocab=113, d_vocab_out=113, n_ctx=16)
    assert task.config == smaller


@requires_upstream
def test_the_released_training_is_upstreams() -> None:
    given = json.loads((UPSTREAM / "ioi" / "facts.json").read_text(encoding="utf-8"))["training"]
    for task in (TASK, NEXT_TOKEN):
        training = task.training
        assert training.iit_weight == given["iit_weight"]
        assert training.behavior_weight == given["behavior_weight"]
        assert training.strict_weight == given["strict_weight"]
        assert training.learning_rate == given["lr"]
        assert training.clip_grad_norm == given["clip_grad_norm"]


def test_vocabularies() -> None:
    assert len(TASK.tokens) == 113 and len(FULL.tokens) == 50_257
    assert TASK.classes == TASK.tokens and FULL.classes == FULL.tokens
    assert TASK.pad_id is None and FULL.pad_id is None
    assert FULL.tokens[5_335] == " Mary" and FULL.tokens[0] == "<0>"
    assert len(set(FULL.tokens)) == 50_257
    for place, gpt2_id in enumerate(TASK.gpt2_ids):
        assert TASK.tokens[place] == FULL.tokens[gpt2_id]


def test_the_vocabulary_of_a_model() -> None:
    assert TASK.in_vocabulary_of(TASK.config) is TASK
    assert TASK.in_vocabulary_of(FULL.config) == FULL != TASK
    assert FULL.in_full_vocabulary() == FULL
    assert (FULL.case_id, FULL.recipe, FULL.note) == (TASK.case_id, TASK.recipe, TASK.note)
    assert NEXT_TOKEN.in_full_vocabulary().predicts_next_token


def test_what_is_scored() -> None:
    for task in (TASK, NEXT_TOKEN, FULL):
        assert task.first_scored == 15 == task.max_seq_len - 1
        assert task.min_seq_len == task.max_seq_len == 16
        assert task.metric == task.own_metric == "logit_diff"
        assert task.bench_inputs == 100
        assert task.is_categorical and task.tier == "multi-step"


def test_loss_weights() -> None:
    assert TASK.loss_weights == (0.0,) * 15 + (1.0,)
    # The last position counts ten times as much.
    assert NEXT_TOKEN.loss_weights == (1.0,) * 15 + (10.0,)


def test_labels() -> None:
    tokens = np.arange(32, dtype=np.int32).reshape(2, 16)
    targets = np.full((2, 16), -1, np.int32)
    targets[:, -1] = [70, 80]
    given = jnp.asarray(tokens), jnp.asarray(targets)
    np.testing.assert_array_equal(TASK.labels(*given), targets)
    found = NEXT_TOKEN.labels(*given)
    assert (found.shape, found.dtype) == ((2, 16), jnp.int32)
    assert np.asarray(found).tolist() == [[*range(1, 16), 70], [*range(17, 32), 80]]


def test_labels_of_the_prompts_are_the_samples_targets() -> None:
    pairs = NEXT_TOKEN.sample(20, 0)
    tokens = jnp.asarray(pairs.input_ids)
    labels = NEXT_TOKEN.labels(tokens, NEXT_TOKEN.high_level.targets(tokens))
    np.testing.assert_array_equal(labels, pairs.target)


def test_the_two_cases_differ_in_what_they_are_trained_on() -> None:
    assert isinstance(CASES["ioi"], IoiTask) and isinstance(CASES["ioi_next_token"], IoiTask)
    assert not TASK.predicts_next_token and NEXT_TOKEN.predicts_next_token
    told = {"case_id", "description", "note", "predicts_next_token"}
    for field in dataclasses.fields(IoiTask):
        same = getattr(TASK, field.name) == getattr(NEXT_TOKEN, field.name)
        assert same == (field.name not in told), field.name


def test_tasks_are_values() -> None:
    for task in (TASK, NEXT_TOKEN, FULL, dataclasses.replace(TASK, has_tokens=False)):
        assert task.config and task.upstream_circuit and task.high_level and task.space  # derived
        again = pickle.loads(pickle.dumps(task))
        assert again == task and hash(again) == hash(task)
        assert again.n_inputs == task.n_inputs
    assert len({TASK, NEXT_TOKEN, FULL}) == 3
