"""Calls in the style of other libraries: they work, or the error says what to write instead."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import interpbench_jax as ib
from interpbench_jax.habits import ActivationCache, read_hooks, read_names
from interpbench_jax.model import as_tokens
from tests.fixtures import random_weights, tiny_config

pytestmark = pytest.mark.usefixtures("unchecked")

CONFIG = tiny_config(n_heads=2, d_model=4, d_head=2, d_vocab=6, d_vocab_out=4, n_ctx=3)
MODEL = ib.build_model(CONFIG, random_weights(CONFIG, seed=3))
CLEAN, CORRUPTED = np.random.default_rng(0).integers(0, 6, (2, 4, 3), np.int32)
PATTERN = "blocks.1.attn.hook_pattern"


class Column:
    """A column like a dataset's: a sequence of lists, without other methods."""

    def __init__(self, rows: list[list[int]]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> list[int]:
        return self.rows[row]


@pytest.mark.slow
@pytest.mark.parametrize("make", [list, lambda rows: rows, Column, jnp.asarray])
def test_ids_come_in_any_form(make: Any) -> None:
    clean, corrupted = make(CLEAN.tolist()), make(CORRUPTED.tolist())
    expected = ib.sweep_edges(MODEL, CLEAN, CORRUPTED).effects
    np.testing.assert_array_equal(ib.sweep_edges(MODEL, clean, corrupted).effects, expected)
    np.testing.assert_array_equal(MODEL(clean), MODEL(CLEAN))
    _, cache = ib.run_with_cache(MODEL, clean, PATTERN)
    assert [*cache] == [PATTERN]
    found = ib.discover(MODEL, clean, corrupted, "exact").values
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ("John went", TypeError, r"got the text 'John went'; case.encode"),
        ([["a", "b"]], TypeError, "got tokens as text; case.encode"),
        ([[1, 2], [1]], ValueError, "in rows of one length, got rows of several lengths; pad them"),
        (5, TypeError, r"integers \[batch, pos\], got int"),
        ([1, 2, 3], ValueError, r"for one input, pass tokens\[None\]"),
        ([[0.5, 1.0]], ValueError, "Expected tokens as integers of shape"),
    ],
)
def test_what_is_no_ids(tokens: Any, error: type[Exception], message: str) -> None:
    for use in (MODEL, lambda given: ib.run_with_cache(MODEL, given)):
        with pytest.raises(error, match=message):
            use(tokens)
    with pytest.raises(error, match=message):
        ib.sweep_edges(MODEL, tokens, tokens)


def test_a_traced_array_is_left_alone() -> None:
    tokens = jnp.asarray(CLEAN)
    assert as_tokens(tokens) is tokens
    np.testing.assert_allclose(jax.jit(MODEL)(tokens), MODEL(CLEAN), atol=1e-6)


@pytest.mark.parametrize("given", ["case", "3", None, 5])
def test_what_is_no_model(given: Any) -> None:
    model = cast(Any, ib.load_case("3") if given == "case" else given)
    wanted = {"case": r"pass its model: case\.model", "3": r"pass load_case\('3'\)\.model"}
    message = wanted.get(given, "Expected a Transformer, got ")
    calls = [
        lambda: ib.sweep_edges(model, CLEAN, CORRUPTED),
        lambda: ib.sweep_nodes(model, CLEAN, CORRUPTED),
        lambda: ib.discover(model, CLEAN, CORRUPTED),
        lambda: ib.run_with_cache(model, CLEAN),
        lambda: ib.run_with_hooks(model, CLEAN, {}),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=message):
            call()


# Names and caches


def test_names_in_every_form() -> None:
    every = read_names(CONFIG, None)
    assert read_names(CONFIG, PATTERN) == read_names(CONFIG, [PATTERN, PATTERN])
    chosen = read_names(CONFIG, lambda name: name.endswith("hook_pattern"))
    assert [str(node) for node in chosen] == ["blocks.0.attn.hook_pattern", PATTERN]
    assert read_names(CONFIG, every) == every
    with pytest.raises(ValueError, match="at least one hook, got one that selects none"):
        read_names(CONFIG, lambda name: "mlp_in2" in name)
    with pytest.raises(TypeError, match="Expected the name of a hook or a node, got 3"):
        read_names(CONFIG, [3])  # pyright: ignore[reportArgumentType]


def test_a_cache_is_asked_as_transformer_lens_is() -> None:
    _, cache = ib.run_with_cache(MODEL, CLEAN)
    assert cache["pattern", 1] is cache[PATTERN]
    assert cache["resid_post", 0] is cache["blocks.0.hook_resid_post"]
    assert cache["post", 1] is cache["blocks.1.mlp.hook_post"]
    with pytest.raises(KeyError, match=r"got \('pattern', 2\)"):
        cache["pattern", 2]
    with pytest.raises(KeyError, match=r"did you mean 'blocks\.1\.attn\.hook_pattern'"):
        cache["blocks.1.hook_pattern"]
    _, some = ib.run_with_cache(MODEL, CLEAN, "hook_embed")
    with pytest.raises(KeyError, match="Expected one of the 1 recorded hooks"):
        some["blocks.0.hook_resid_post"]


def test_a_cache_is_a_pytree_in_order() -> None:
    names = ["hook_embed", PATTERN, "blocks.0.hook_resid_post"]
    _, cache = jax.jit(lambda tokens: ib.run_with_cache(MODEL, tokens, names))(jnp.asarray(CLEAN))
    assert isinstance(cache, ActivationCache) and [*cache] == names
    doubled = jax.tree.map(lambda array: 2 * array, cache)
    np.testing.assert_allclose(doubled["pattern", 1], 2 * cache[PATTERN])


# Hooks


def test_hooks_as_pairs_and_by_a_filter() -> None:
    def zero(activation: jax.Array) -> jax.Array:
        return activation * 0

    names = ["blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out"]
    expected = ib.run_with_hooks(MODEL, CLEAN, dict.fromkeys(names, zero))
    for hooks in (
        [(name, zero) for name in names],
        [(names, zero)],
        [(lambda name: name.endswith("mlp_out"), zero)],
    ):
        np.testing.assert_array_equal(ib.run_with_hooks(MODEL, CLEAN, hooks), expected)
    assert not np.allclose(expected, MODEL(CLEAN))


@pytest.mark.parametrize(
    ("hooks", "error", "message"),
    [
        (
            [("hook_embed", lambda x, hook: x)],
            TypeError,
            "the activation, got one that takes 2",
        ),
        ({"hook_embed": None}, TypeError, "Expected a function of the activation for hook_embed"),
        (["hook_embed"], TypeError, r"or as pairs \(name, function\), got 'hook_embed'"),
        ([("hook_embed", abs), ("hook_embed", abs)], ValueError, "got two for hook_embed"),
        ({"hook_embed": lambda x: None}, TypeError, "got None; JAX arrays cannot be changed"),
        ({"hook_nothing": abs}, ValueError, "hook"),
    ],
)
def test_hooks_that_say_what_to_write(hooks: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ib.run_with_hooks(MODEL, CLEAN, hooks)


def test_a_default_argument_is_no_second_one() -> None:
    assert len(read_hooks(CONFIG, {"hook_embed": lambda x, scale=2: x * scale})) == 1


# Metrics


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, TypeError, "an array of one number per input, got None"),
        (0.5, TypeError, "an array of one number per input, got 0.5"),
        (jnp.zeros(()), ValueError, r"got \(\); average over positions and classes"),
        (jnp.zeros((4, 2)), ValueError, r"got \(4, 2\)"),
    ],
)
def test_metrics_that_return_something_else(
    value: Any, error: type[Exception], message: str
) -> None:
    def metric(logits: Any, clean: Any, targets: Any) -> Any:
        return value

    for use in (ib.sweep_edges, ib.discover):
        with pytest.raises(error, match=message):
            use(MODEL, CLEAN, CORRUPTED, metric=metric)
    with pytest.raises(ValueError, match="Expected metric to be one of kl, "):
        ib.sweep_edges(MODEL, CLEAN, CORRUPTED, metric=["kl"])  # pyright: ignore
