"""Models that keep only some tokens: they compute the same, and wrong arguments are refused."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpbench_conversion.to_torch import write_upstream
from interpbench_conversion.vocabulary import KeptTokens, keep_tokens
from interpbench_jax import load_case, run_with_cache
from interpbench_jax.case import Case, read_case
from interpbench_jax.circuit import Circuit
from interpbench_jax.universes import universe
from tests.fixtures import random_weights, tiny_config

D_VOCAB = 40
VOCAB = tuple(f"token {i}" for i in range(D_VOCAB))
IDS = (31, 4, 0, 39, 17)


def make_case(dtype: np.typing.DTypeLike = np.float32, **changes: object) -> Case:
    values: dict[str, object] = {"d_vocab": D_VOCAB, "d_vocab_out": D_VOCAB}
    values |= {"act_fn": "gelu_new", "normalization_type": "LNPre"}
    config = tiny_config(**(values | changes))
    shape = config.n_layers, config.n_heads
    circuit = Circuit(*shape, universe("qkv", *shape).edges[:5])
    weights = random_weights(config, dtype)
    return Case("small", config, weights, circuit, None, "What it does", {"source": "here"})


def kept_of(token_ids: tuple[int, ...] = IDS, n_ctx: int | None = None) -> KeptTokens:
    return KeptTokens(token_ids, tuple(f"token {i}" for i in token_ids), n_ctx)


def assert_same_run(full: Case, cut: Case, token_ids: tuple[int, ...], inputs: np.ndarray) -> None:
    """Assert bitwise equal activations, and logits, whose width differs, equal to rounding."""
    logits, cache = run_with_cache(cut.model, inputs)
    expected, full_cache = run_with_cache(full.model, np.array(token_ids)[inputs])
    assert set(cache) == set(full_cache)
    for name, activation in full_cache.items():
        np.testing.assert_array_equal(cache[name], activation, err_msg=name)
    np.testing.assert_allclose(logits, expected[..., token_ids], rtol=0, atol=1e-12)


# The kept weights


def test_the_kept_numbers_are_the_files() -> None:
    full = make_case()
    cut = keep_tokens(full, kept_of(n_ctx=3))
    ids = list(IDS)
    expected = dict(full.weights)
    expected["embed.W_E"] = full.weights["embed.W_E"][ids]
    expected["unembed.W_U"] = full.weights["unembed.W_U"][:, ids]
    expected["unembed.b_U"] = full.weights["unembed.b_U"][ids]
    expected["pos_embed.W_pos"] = full.weights["pos_embed.W_pos"][:3]
    assert set(cut.weights) == set(expected)
    for name, array in expected.items():
        assert cut.weights[name].dtype == array.dtype, name
        np.testing.assert_array_equal(cut.weights[name], array, err_msg=name)
    assert cut.config == replace(full.config, d_vocab=5, d_vocab_out=5, n_ctx=3)
    assert cut.vocab == ("token 31", "token 4", "token 0", "token 39", "token 17")
    assert (cut.case_id, cut.circuit) == (full.case_id, full.circuit)
    assert cut.task_description == full.task_description


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_every_precision_stays(dtype: np.typing.DTypeLike) -> None:
    cut = keep_tokens(make_case(dtype), kept_of())
    assert {array.dtype for array in cut.weights.values()} == {np.dtype(dtype)}


# One size and one layer: any other would need another compilation.
@pytest.mark.slow
@settings(max_examples=20)
@given(st.permutations(range(D_VOCAB)), st.integers(0, 2**32 - 1))
def test_any_kept_tokens_compute_the_same(order: list[int], seed: int) -> None:
    full, token_ids = make_case(np.float64, n_layers=1), tuple(order[:13])
    inputs = np.random.default_rng(seed).integers(0, 13, (3, 4))
    with jax.enable_x64(True):
        assert_same_run(full, keep_tokens(full, kept_of(token_ids, n_ctx=4)), token_ids, inputs)


def test_a_cut_case_is_saved_and_exported(tmp_path: Path) -> None:
    cut = keep_tokens(make_case(), kept_of(n_ctx=4))
    assert read_case(cut.save(tmp_path / "ours")) == cut
    read = load_case("small", write_upstream(cut, tmp_path / "theirs"))
    assert read.config == cut.config and read.circuit == cut.circuit
    for name, array in cut.weights.items():
        np.testing.assert_array_equal(read.weights[name], array, err_msg=name)


# The provenance


def test_the_provenance_says_what_was_kept() -> None:
    said = dict(keep_tokens(make_case(), kept_of()).provenance)
    assert "Only these tokens" in str(said.pop("note"))
    assert said == {"source": "here", "kept_token_ids": list(IDS), "d_vocab_of_file": D_VOCAB}
    said = keep_tokens(make_case(), kept_of(n_ctx=2)).provenance
    assert said["n_ctx_of_file"] == 6
    assert json.loads(json.dumps(dict(said))) == said


def test_a_second_cut_still_names_the_files_ids() -> None:
    full = make_case()
    once = keep_tokens(full, kept_of(n_ctx=4))
    twice = keep_tokens(once, KeptTokens((3, 1), ("token 39", "token 4"), 2))
    at_once = keep_tokens(full, kept_of((39, 4), 2))
    assert twice == at_once and twice.provenance == at_once.provenance
    for name, array in at_once.weights.items():
        np.testing.assert_array_equal(twice.weights[name], array, err_msg=name)


def test_a_case_read_from_json_can_be_cut_again(tmp_path: Path) -> None:
    cut = read_case(keep_tokens(make_case(), kept_of()).save(tmp_path / "a"))
    again = keep_tokens(cut, KeptTokens((2,), ("token 0",)))
    assert again.provenance["kept_token_ids"] == [0]


# Wrong arguments


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("token_ids", "tokens", "n_ctx", "message"),
    [
        ((1, 2), ("a",), None, "got 1 tokens for 2 ids"),
        ((), (), None, "one or more ids to keep, got 0 tokens for 0"),
        ((1, -2), ("a", "b"), None, r"integers from 0, got \(1, -2\)"),
        ((1, True), ("a", "b"), None, "integers from 0"),
        ((1, 2.0), ("a", "b"), None, "integers from 0"),
        ((3, 1, 3), ("a", "b", "c"), None, r"each id to keep only once, got \[3\] again"),
        ((1, 2), ("a", "a"), None, r"each token to keep only once, got \['a'\] again"),
        ((1,), ("a",), 0, "n_ctx to be an integer from 1, got 0"),
    ],
)
def test_what_cannot_be_kept_is_named(
    token_ids: tuple[int, ...], tokens: tuple[str, ...], n_ctx: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        KeptTokens(token_ids, tokens, n_ctx)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (kept_of((3, D_VOCAB, 99)), r"Case 'small': .* d_vocab = 40, got \[40, 99\]"),
        (kept_of(n_ctx=7), "Case 'small': .* at most the model's 6, got 7"),
    ],
)
def test_what_is_outside_the_model_is_named(kept: KeptTokens, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        keep_tokens(make_case(), kept)


def test_outputs_that_are_classes_are_refused() -> None:
    message = "got 5 outputs for 40 tokens: they are classes.*Convert the case without keep_tokens"
    with pytest.raises(ValueError, match=message):
        keep_tokens(make_case(d_vocab_out=5), kept_of())


def test_another_token_than_the_cases_own_is_named() -> None:
    case = replace(make_case(), vocab=VOCAB)
    assert keep_tokens(case, kept_of((1, 2))).vocab == ("token 1", "token 2")
    with pytest.raises(ValueError, match="Expected token 2 to be 'token 2', got 'token 3'"):
        keep_tokens(case, KeptTokens((1, 2), ("token 1", "token 3")))
