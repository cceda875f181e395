"""Recording, replacing and masking activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpbench_jax import (
    Kind,
    Node,
    TransformerConfig,
    build_model,
    hook_names,
    masked_forward,
    replacement_outputs,
    run_with_cache,
    run_with_hooks,
    writer_outputs,
)
from interpbench_jax.interventions import layer_norm_scales
from interpbench_jax.model import Transformer
from interpbench_jax.sites import n_writers_before, readers, writers
from tests.fixtures import random_weights

CONFIGS = {
    "causal": TransformerConfig(
        n_layers=2,
        n_heads=3,
        d_model=6,
        d_head=2,
        d_mlp=7,
        d_vocab=5,
        d_vocab_out=4,
        n_ctx=6,
        act_fn="gelu",
    ),
    "layer norm": TransformerConfig(
        n_layers=3,
        n_heads=2,
        d_model=4,
        d_head=3,
        d_mlp=5,
        d_vocab=5,
        d_vocab_out=3,
        n_ctx=6,
        act_fn="gelu_new",
        normalization_type="LNPre",
    ),
    "bidirectional": TransformerConfig(
        n_layers=1,
        n_heads=2,
        d_model=4,
        d_head=2,
        d_mlp=5,
        d_vocab=5,
        d_vocab_out=1,
        n_ctx=6,
        act_fn="relu",
        attention_dir="bidirectional",
        use_attn_scale=False,
    ),
}
# A different summation order: a few dozen float32 roundings of values of order 1.
ROUNDING = 5e-6


def make(name: str) -> tuple[Transformer, np.ndarray, np.ndarray]:
    config = CONFIGS[name]
    generator = np.random.default_rng(0)
    model = build_model(config, random_weights(config, seed=1))
    tokens = generator.integers(0, config.d_vocab, (2, 5, config.n_ctx)).astype(np.int32)
    return model, tokens[0], tokens[1]


def mask_shape(model: Transformer) -> tuple[int, int]:
    shape = (model.config.n_layers, model.config.n_heads)
    return len(readers(*shape)), len(writers(*shape))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_cache_has_every_hook_in_forward_order(name: str) -> None:
    model, tokens, _ = make(name)
    logits, cache = run_with_cache(model, tokens)
    assert tuple(cache) == hook_names(model.config)
    np.testing.assert_allclose(logits, model(tokens), atol=ROUNDING)
    batch, pos = tokens.shape
    config = model.config
    shapes = {
        "hook_embed": (batch, pos, config.d_model),
        "blocks.0.hook_q_input": (batch, pos, config.n_heads, config.d_model),
        "blocks.0.attn.hook_v": (batch, pos, config.n_heads, config.d_head),
        "blocks.0.attn.hook_pattern": (batch, config.n_heads, pos, pos),
        "blocks.0.attn.hook_result": (batch, pos, config.n_heads, config.d_model),
        "blocks.0.mlp.hook_post": (batch, pos, config.d_mlp),
    }
    assert {hook: cache[hook].shape for hook in shapes} == shapes


def test_cache_of_chosen_names_and_heads() -> None:
    model, tokens, _ = make("causal")
    _, everything = run_with_cache(model, tokens)
    names = ["blocks.1.attn.hook_result[2]", Node(Kind.PATTERN, 0, 1), "hook_embed"]
    _, cache = run_with_cache(model, tokens, names)
    assert list(cache) == [str(name) for name in names]
    np.testing.assert_array_equal(
        cache["blocks.1.attn.hook_result[2]"], everything["blocks.1.attn.hook_result"][:, :, 2]
    )
    np.testing.assert_array_equal(
        cache["blocks.0.attn.hook_pattern[1]"], everything["blocks.0.attn.hook_pattern"][:, 1]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_hooks_that_put_back_the_cache_change_nothing(name: str) -> None:
    model, tokens, _ = make(name)
    logits, cache = run_with_cache(model, tokens)
    for hook, activation in cache.items():
        again = run_with_hooks(model, tokens, {hook: lambda _, kept=activation: kept})
        np.testing.assert_allclose(again, logits, atol=ROUNDING, err_msg=hook)


def test_hook_on_one_head_is_the_hook_on_all_with_the_others_kept() -> None:
    model, tokens, _ = make("causal")
    one = run_with_hooks(model, tokens, {"blocks.0.attn.hook_result[1]": lambda head: 3 * head})
    whole = run_with_hooks(
        model, tokens, {"blocks.0.attn.hook_result": lambda all_: all_.at[:, :, 1].multiply(3)}
    )
    np.testing.assert_allclose(one, whole, atol=ROUNDING)
    assert np.abs(np.asarray(one - model(tokens))).max() > 1e-3


@pytest.mark.slow
def test_hooks_work_inside_jit_vmap_and_grad() -> None:
    model, tokens, _ = make("causal")

    def total(scale: jax.Array) -> jax.Array:
        hooks = {"blocks.0.hook_mlp_out": lambda out: out * scale}
        return run_with_hooks(model, tokens, hooks).sum()

    eager = total(jnp.asarray(0.5))
    np.testing.assert_allclose(jax.jit(total)(jnp.asarray(0.5)), eager, rtol=1e-5)
    many = jax.vmap(total)(jnp.asarray([0.5, 1.0]))
    np.testing.assert_allclose(many[0], eager, rtol=1e-5)
    step = 1e-2
    slope = (total(jnp.asarray(0.5 + step)) - total(jnp.asarray(0.5 - step))) / (2 * step)
    np.testing.assert_allclose(jax.grad(total)(jnp.asarray(0.5)), slope, rtol=2e-2)


def test_second_call_does_not_compile_again() -> None:
    model, tokens, other = make("causal")
    run_with_cache(model, tokens, ["hook_embed"])
    with jax.log_compiles(False), jax.checking_leaks():
        before = _compilations()
        run_with_cache(model, other, ["hook_embed"])
        assert _compilations() == before


def _compilations() -> int:
    from interpbench_jax import interventions

    return interventions._run_with_cache._cache_size()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["blocks.9.hook_mlp_out"], "Expected a hook of a model with 2 layers"),
        (["blocks.0.attn.hook_result[3]"], "of 3 heads"),
        (["blocks.0.ln1.hook_scale"], "normalization None"),
        (["hook_nothing"], "Expected a TransformerLens hook name"),
    ],
)
def test_unknown_hooks_are_refused(names: list[str], message: str) -> None:
    model, tokens, _ = make("causal")
    with pytest.raises(ValueError, match=message):
        run_with_cache(model, tokens, names)
    with pytest.raises(ValueError, match=message):
        run_with_hooks(model, tokens, {names[0]: lambda x: x})


@pytest.mark.usefixtures("unchecked")
def test_hook_that_changes_the_shape_or_dtype_is_refused() -> None:
    model, tokens, _ = make("causal")
    with pytest.raises(ValueError, match=r"hook at hook_embed to return float32 of shape \(5, 6"):
        run_with_hooks(model, tokens, {"hook_embed": lambda x: x[:1]})
    with pytest.raises(ValueError, match="got int32"):
        run_with_hooks(model, tokens, {"hook_embed": lambda x: x.astype(jnp.int32)})


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((1, 7), np.int32), "Expected 1 to 6 positions, got 7"),
        (np.full((1, 2), 5, np.int32), "Expected token ids from 0 to 4, got 5 to 5"),
        (np.full((1, 2), -1, np.int32), "got -1 to -1"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(tokens: np.ndarray, message: str) -> None:
    model, _, _ = make("causal")
    with pytest.raises(ValueError, match=message):
        model(tokens)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("by_position", [False, True])
def test_mask_of_ones_is_the_clean_run_and_of_zeros_the_replacement_run(
    name: str, by_position: bool
) -> None:
    model, clean, corrupted = make(name)
    shape = (*mask_shape(model), *([clean.shape[1]] if by_position else []))
    replacement = replacement_outputs(model, corrupted)
    ones = masked_forward(model, clean, jnp.ones(shape), replacement)
    np.testing.assert_allclose(ones, model(clean), atol=ROUNDING)
    zeros = masked_forward(model, clean, jnp.zeros(shape), replacement)
    np.testing.assert_allclose(zeros, model(corrupted), atol=ROUNDING)


@pytest.mark.parametrize("name", CONFIGS)
def test_own_outputs_as_replacement_change_nothing(name: str) -> None:
    model, clean, _ = make(name)
    mask = jax.random.uniform(jax.random.key(0), mask_shape(model))
    logits = masked_forward(model, clean, mask, writer_outputs(model, clean))
    np.testing.assert_allclose(logits, model(clean), atol=ROUNDING)


def test_entries_of_later_writers_are_not_looked_at() -> None:
    model, clean, corrupted = make("causal")
    replacement = replacement_outputs(model, corrupted)
    config = model.config
    mask = np.ones(mask_shape(model), np.float32)
    for row, reader in zip(mask, readers(config.n_layers, config.n_heads), strict=True):
        row[n_writers_before(reader, config.n_heads) :] = 7
    np.testing.assert_allclose(
        masked_forward(model, clean, jnp.asarray(mask), replacement), model(clean), atol=ROUNDING
    )


@pytest.mark.parametrize("name", ["causal", "layer norm"])
def test_one_cut_edge_equals_a_hook_on_its_reader(name: str) -> None:
    """A cut edge equals adding the writer's replacement minus its output to the reader's input."""
    model, clean, corrupted = make(name)
    shape = (model.config.n_layers, model.config.n_heads)
    src, dst = writers(*shape), readers(*shape)
    replacement = replacement_outputs(model, corrupted)
    ours, theirs = writer_outputs(model, clean), replacement
    for writer, reader in [
        ("hook_pos_embed", "blocks.0.hook_k_input[1]"),
        ("hook_embed", "blocks.1.hook_mlp_in"),
        ("blocks.0.attn.hook_result[1]", "blocks.0.hook_mlp_in"),
        ("blocks.0.hook_mlp_out", "blocks.1.hook_v_input[0]"),
    ]:
        w, r = [*map(str, src)].index(writer), [*map(str, dst)].index(reader)
        mask = jnp.ones(mask_shape(model)).at[r, w].set(0)
        change = (theirs - ours)[:, :, w]
        by_hook = run_with_hooks(model, clean, {reader: lambda x, c=change: x + c})
        by_mask = masked_forward(model, clean, mask, replacement)
        np.testing.assert_allclose(by_mask, by_hook, atol=ROUNDING, err_msg=f"{writer} {reader}")


def test_position_axis_of_equal_masks_is_the_mask_without_it() -> None:
    model, clean, corrupted = make("layer norm")
    replacement = replacement_outputs(model, corrupted)
    mask = jax.random.bernoulli(jax.random.key(1), 0.5, mask_shape(model)).astype(jnp.float32)
    wide = jnp.broadcast_to(mask[..., None], (*mask.shape, clean.shape[1]))
    np.testing.assert_allclose(
        masked_forward(model, clean, wide, replacement),
        masked_forward(model, clean, mask, replacement),
        atol=ROUNDING,
    )


def test_mean_and_zero_replacements_are_shared_by_the_batch() -> None:
    model, clean, corrupted = make("causal")
    outputs = writer_outputs(model, corrupted)
    mean = replacement_outputs(model, corrupted, "mean")
    np.testing.assert_allclose(mean, outputs.mean(axis=0, keepdims=True))
    zero = replacement_outputs(model, corrupted, "zero")
    assert mean.shape == zero.shape == (1, *outputs.shape[1:])
    assert not zero.any()
    half = jnp.full(mask_shape(model), 0.5)
    spread = jnp.broadcast_to(mean, outputs.shape)
    np.testing.assert_allclose(
        masked_forward(model, clean, half, mean),
        masked_forward(model, clean, half, spread),
        atol=ROUNDING,
    )


@pytest.mark.slow
@settings(max_examples=4)
@given(seed=st.integers(0, 2**16), by_position=st.booleans())
def test_gradient_in_the_mask_equals_finite_differences(seed: int, by_position: bool) -> None:
    with jax.enable_x64(True):
        model, clean, corrupted = make("layer norm")
        model = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model)
        replacement = replacement_outputs(model, corrupted)
        shape = (*mask_shape(model), *([clean.shape[1]] if by_position else []))
        generator = np.random.default_rng(seed)
        mask, direction = generator.random(shape), generator.normal(size=shape)

        @jax.jit
        def loss(mask: jax.Array) -> jax.Array:
            return (masked_forward(model, clean, mask, replacement) ** 2).sum()

        slope = (jax.grad(loss)(jnp.asarray(mask)) * direction).sum()
        step = 1e-5
        ahead, behind = loss(mask + step * direction), loss(mask - step * direction)
        # A central difference has an error of order step^2, plus rounding / step.
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-5)


@settings(max_examples=10)
@given(order=st.permutations(range(5)))
def test_order_of_the_batch_does_not_matter(order: list[int]) -> None:
    model, clean, corrupted = make("causal")
    mask = jax.random.bernoulli(jax.random.key(2), 0.7, mask_shape(model)).astype(jnp.float32)
    run = jax.jit(masked_forward)
    logits = run(model, clean, mask, replacement_outputs(model, corrupted))
    shuffled = run(model, clean[order], mask, replacement_outputs(model, corrupted[order]))
    np.testing.assert_allclose(shuffled, np.asarray(logits)[order], atol=ROUNDING)


@pytest.mark.usefixtures("unchecked")
def test_shapes_that_do_not_fit_are_refused() -> None:
    model, clean, corrupted = make("causal")
    replacement = replacement_outputs(model, corrupted)
    dst, src = mask_shape(model)
    with pytest.raises(
        ValueError, match=rf"Expected a mask of shape \(dst, src\) = \({dst}, {src}"
    ):
        masked_forward(model, clean, jnp.ones((src, dst)), replacement)
    with pytest.raises(ValueError, match="Expected replacements of shape"):
        masked_forward(model, clean[:3], jnp.ones((dst, src)), replacement)
    with pytest.raises(ValueError, match="Expected ablation to be one of"):
        replacement_outputs(model, corrupted, "median")  # pyright: ignore[reportArgumentType]


# Frozen layer norm


def make_exact(name: str) -> tuple[Transformer, np.ndarray, np.ndarray]:
    model, clean, corrupted = make(name)
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model), clean, corrupted


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_scales_are_what_the_hooks_show(name: str, x64: None) -> None:
    model, clean, _ = make_exact(name)
    n_layers = model.config.n_layers
    scales = layer_norm_scales(model, clean)
    assert scales.shape == (*clean.shape, 2 * n_layers + 1)
    if model.config.normalization_type is None:
        np.testing.assert_array_equal(scales, np.ones(scales.shape))
        return
    _, cache = run_with_cache(model, clean)
    for layer in range(n_layers):
        attention = cache[f"blocks.{layer}.ln1.hook_scale"]
        for head in range(model.config.n_heads):
            np.testing.assert_array_equal(scales[..., 2 * layer], attention[:, :, head, 0])
        mlp = cache[f"blocks.{layer}.ln2.hook_scale"]
        np.testing.assert_array_equal(scales[..., 2 * layer + 1], mlp[..., 0])
    np.testing.assert_array_equal(scales[..., -1], cache["ln_final.hook_scale"][..., 0])


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_frozen_runs(name: str, x64: None) -> None:
    """With nothing cut the result is the plain run; cut runs divide by the clean run's scales."""
    model, clean, corrupted = make_exact(name)
    scales, replacement = layer_norm_scales(model, clean), replacement_outputs(model, corrupted)
    ones = jnp.ones(mask_shape(model))
    plain = masked_forward(model, clean, ones, replacement, scales)
    np.testing.assert_allclose(plain, model(clean), rtol=0, atol=1e-13)
    cut = jax.random.bernoulli(jax.random.key(1), 0.5, mask_shape(model)).astype(jnp.float64)
    own = masked_forward(model, clean, cut, replacement)
    frozen = masked_forward(model, clean, cut, replacement, scales)
    if model.config.normalization_type is None:
        np.testing.assert_array_equal(frozen, own)
    else:
        assert abs(frozen - own).max() > 1e-2
    # If everything is replaced, the corrupted run's scales give the corrupted run.
    whole = layer_norm_scales(model, corrupted)
    zeros = masked_forward(model, clean, 0 * ones, replacement, whole)
    np.testing.assert_allclose(zeros, model(corrupted), rtol=0, atol=1e-13)


@pytest.mark.slow
def test_one_frozen_edge_equals_hooks(x64: None) -> None:
    """A frozen edge patch equals hooks on the reader's input and on every layer norm scale."""
    model, clean, corrupted = make_exact("layer norm")
    shape = (model.config.n_layers, model.config.n_heads)
    scales, replacement = layer_norm_scales(model, clean), replacement_outputs(model, corrupted)
    change = np.asarray(replacement - writer_outputs(model, clean))
    _, cache = run_with_cache(model, clean)
    frozen = {
        name: lambda _, kept=kept: kept
        for name, kept in cache.items()
        if name.endswith("hook_scale")
    }
    src, dst = ([str(node) for node in each(*shape)] for each in (writers, readers))
    for writer, reader in [
        ("hook_embed", "blocks.1.hook_mlp_in"),
        ("blocks.0.hook_mlp_out", "blocks.1.hook_v_input[0]"),
        ("blocks.2.attn.hook_result[1]", "blocks.2.hook_resid_post"),
    ]:
        w, r = src.index(writer), dst.index(reader)
        mask = jnp.ones(mask_shape(model)).at[r, w].set(0)
        by_mask = masked_forward(model, clean, mask, replacement, scales)
        hooks = {**frozen, reader: lambda x, added=change[:, :, w]: x + added}
        by_hooks = run_with_hooks(model, clean, hooks)
        np.testing.assert_allclose(by_mask, by_hooks, rtol=0, atol=1e-13)


@pytest.mark.usefixtures("unchecked")
def test_scales_of_another_shape_are_refused() -> None:
    model, clean, corrupted = make("layer norm")
    scales, replacement = layer_norm_scales(model, clean), replacement_outputs(model, corrupted)
    with pytest.raises(ValueError, match=r"layer norm scales of shape \(batch, pos, norms\) ="):
        masked_forward(model, clean, jnp.ones(mask_shape(model)), replacement, scales[..., :-1])
