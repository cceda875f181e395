"""Sets of edges, masks and neurons, against the masked forward and hooks."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax import (
    METRICS,
    Edge,
    Neuron,
    SweepOptions,
    Transformer,
    TransformerConfig,
    build_model,
    masked_forward,
    replacement_outputs,
    run_with_cache,
    run_with_hooks,
    sweep_cuts,
    sweep_edges,
    sweep_masks,
    sweep_neurons,
    sweep_nodes,
    universe,
)
from interpbench_jax.interventions import ABLATIONS, Ablation
from interpbench_jax.masks import edge_mask
from tests.fixtures import random_weights

CONFIG = TransformerConfig(
    n_layers=3,
    n_heads=2,
    d_model=6,
    d_head=3,
    d_mlp=8,
    d_vocab=6,
    d_vocab_out=3,
    n_ctx=5,
    act_fn="gelu",
    normalization_type="LNPre",
)
SHAPE = (CONFIG.n_layers, CONFIG.n_heads)
EDGES = universe("qkv", *SHAPE).edges
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return build_model(CONFIG, random_weights(CONFIG, seed=3))


@pytest.fixture(scope="module")
def inputs() -> Pair:
    drawn = np.random.default_rng(5).integers(0, CONFIG.d_vocab, (2, 7, CONFIG.n_ctx))
    return drawn[0].astype(np.int32), drawn[1].astype(np.int32)


def effect(model: Transformer, clean: np.ndarray, logits: jnp.ndarray) -> float:
    reference = model(clean)
    targets = reference.argmax(axis=-1)
    parts = (logits[:, 1:], reference[:, 1:], targets[:, 1:])
    return float(METRICS["kl"](*parts).mean())


def random_sets(n: int) -> list[tuple[Edge, ...]]:
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 6, n)
    return [
        tuple(EDGES[i] for i in generator.choice(len(EDGES), size, replace=False)) for size in sizes
    ]


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_sets_equal_the_masked_forward(
    model: Transformer, inputs: Pair, ablation: Ablation
) -> None:
    clean, corrupted = inputs
    cuts = random_sets(12)
    result = sweep_cuts(
        model,
        clean,
        corrupted,
        cuts=cuts,
        ablation=ablation,
        options=SweepOptions(return_logits=True),
    )
    assert result.names == tuple(cuts)
    assert result.logits is not None
    replacement = replacement_outputs(model, corrupted, ablation)
    for cut, logits, found in zip(cuts, result.logits, result.effects, strict=True):
        mask = 1 - edge_mask(cut, *SHAPE)
        expected = masked_forward(model, clean, mask, replacement)
        np.testing.assert_allclose(logits, expected, atol=5e-6)
        np.testing.assert_allclose(found, effect(model, clean, expected), atol=2e-6)


@pytest.mark.slow
def test_single_edges_agree_however_they_are_cut(model: Transformer, inputs: Pair) -> None:
    single = sweep_edges(model, *inputs)
    cuts = sweep_cuts(model, *inputs, cuts=[(edge,) for edge in EDGES])
    masks = 1 - np.stack([edge_mask([edge], *SHAPE) for edge in EDGES])
    masked = sweep_masks(model, *inputs, masks=masks)
    assert masked.names == tuple(range(len(EDGES)))
    np.testing.assert_allclose(cuts.effects, single.effects, atol=1e-7)
    np.testing.assert_allclose(masked.effects, single.effects, atol=2e-6)
    assert single.effects.max() > 1e-2


def test_pairs_that_meet_in_one_reader_do_not_need_masks(model: Transformer, inputs: Pair) -> None:
    last = [edge for edge in EDGES if edge.dst == EDGES[-1].dst]
    pairs = list(itertools.combinations(last, 2))
    result = sweep_cuts(model, *inputs, cuts=pairs)
    assert [place.name for place in result.plan.places] == ["the output: the unembedding"]
    masks = 1 - np.stack([edge_mask(pair, *SHAPE) for pair in pairs])
    masked = sweep_masks(model, *inputs, masks=masks)
    assert "mask" in masked.plan.places[0].name
    np.testing.assert_allclose(result.effects, masked.effects, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("by_position", [False, True])
def test_masks_of_any_numbers(model: Transformer, inputs: Pair, by_position: bool) -> None:
    clean, corrupted = inputs
    shape = edge_mask([], *SHAPE).shape + ((CONFIG.n_ctx,) if by_position else ())
    masks = np.random.default_rng(1).uniform(-0.5, 1.5, (5, *shape)).astype(np.float32)
    # Masks of deeper and deeper layers, so that runs start at each of them.
    for number, mask in enumerate(masks):
        mask[: 7 * (number - 1)] = 1
    result = sweep_masks(
        model, clean, corrupted, masks=masks, options=SweepOptions(return_logits=True)
    )
    replacement = replacement_outputs(model, corrupted)
    assert result.logits is not None
    assert len(result.plan.places) == 4
    for mask, logits in zip(masks, result.logits, strict=True):
        expected = masked_forward(model, clean, mask, replacement)
        np.testing.assert_allclose(logits, expected, atol=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_neurons_equal_hooks(model: Transformer, inputs: Pair, ablation: Ablation) -> None:
    clean, corrupted = inputs
    result = sweep_neurons(
        model, clean, corrupted, ablation=ablation, options=SweepOptions(return_logits=True)
    )
    assert len(result.names) == CONFIG.n_layers * CONFIG.d_mlp
    assert str(result.names[9]) == "blocks.1.mlp.hook_post[1]"
    assert result.logits is not None
    _, cache = run_with_cache(model, corrupted)
    for number in (0, 9, len(result.names) - 1):
        neuron = result.names[number]
        hook = f"blocks.{neuron.layer}.mlp.hook_post"
        source = cache[hook][..., neuron.index]
        if ablation != "resample":
            source = source.mean(axis=0, keepdims=True)
        if ablation == "zero":
            source = jnp.zeros_like(source)

        def put(x: jnp.ndarray, neuron: Neuron = neuron, source: jnp.ndarray = source):
            return x.at[..., neuron.index].set(jnp.broadcast_to(source, x.shape[:2]))

        expected = run_with_hooks(model, clean, {hook: put})
        np.testing.assert_allclose(result.logits[number], expected, atol=5e-6)


def test_neurons_at_a_position(model: Transformer, inputs: Pair) -> None:
    clean, corrupted = inputs
    result = sweep_neurons(
        model, clean, corrupted, positions=[3], options=SweepOptions(return_logits=True)
    )
    assert result.effects.shape == (CONFIG.n_layers * CONFIG.d_mlp, 1)
    assert result.logits is not None
    _, cache = run_with_cache(model, corrupted)
    hook = "blocks.1.mlp.hook_post"
    source = cache[hook][:, 3, 2]
    expected = run_with_hooks(model, clean, {hook: lambda x: x.at[:, 3, 2].set(source)})
    np.testing.assert_allclose(result.logits[CONFIG.d_mlp + 2, 0], expected, atol=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [sweep_edges, sweep_nodes, sweep_neurons])
def test_several_ablations_are_the_same_as_one_by_one(
    model: Transformer, inputs: Pair, sweep
) -> None:
    asked: tuple[Ablation, ...] = ("zero", "resample", "mean")
    together = sweep(model, *inputs, ablation=asked, positions=[1, 2])
    assert together.effects.shape == (3, len(together.names), 2)
    for ablation in asked:
        alone = sweep(model, *inputs, ablation=ablation, positions=[1, 2])
        part = together.of(ablation)
        assert part.ablation == ablation and part.names == alone.names
        np.testing.assert_allclose(part.effects, alone.effects, atol=1e-6)
        assert alone.of(ablation) is alone
    frame = together.to_pandas()
    assert frame["ablation"].tolist()[:: len(frame) // 3] == list(asked)
    np.testing.assert_array_equal(frame["effect"], together.effects.ravel())
    with pytest.raises(ValueError, match="Expected ablation to be one of mean; got 'zero'"):
        together.of("mean").of("zero")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("sweep", "given", "message"),
    [
        (sweep_cuts, {"cuts": []}, "at least one edge each"),
        (sweep_cuts, {"cuts": [()]}, "at least one edge each"),
        (sweep_cuts, {"cuts": [(EDGES[-1], Edge(EDGES[0].dst, EDGES[0].src))]}, "to a reader"),
        (sweep_masks, {"masks": np.ones((2, 3, 4))}, "Expected masks of shape"),
        (sweep_masks, {"masks": np.ones((0, 22, 11))}, "at least one"),
        (sweep_edges, {"ablation": ()}, "Expected ablation to be one of"),
        (sweep_edges, {"ablation": ("mean", "mean")}, "several different ones"),
    ],
)
def test_what_makes_no_sense_is_refused(
    model: Transformer, inputs: Pair, sweep, given: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sweep(model, *inputs, **given)


# The caller's constants


@pytest.mark.slow
def test_constants_in_place_of_an_ablation(model: Transformer, inputs: Pair) -> None:
    clean, corrupted = inputs
    mean = np.asarray(replacement_outputs(model, corrupted, "mean"))
    given = sweep_edges(model, clean, ablation=mean)
    expected = sweep_edges(model, clean, corrupted, ablation="mean")
    np.testing.assert_allclose(given.effects, expected.effects, rtol=0, atol=1e-6)
    assert given.ablation == "constants"
    shared = sweep_nodes(model, clean, ablation=mean.mean(axis=1, keepdims=True))
    repeated = np.repeat(mean.mean(axis=1, keepdims=True), CONFIG.n_ctx, axis=1)
    np.testing.assert_array_equal(
        shared.effects, sweep_nodes(model, clean, ablation=jnp.asarray(repeated)).effects
    )
    masks = np.stack([edge_mask(EDGES, *SHAPE), edge_mask(EDGES[:9], *SHAPE)])
    found = sweep_masks(model, clean, masks=masks, ablation=mean)
    reference = sweep_masks(model, clean, corrupted, masks=masks, ablation="mean")
    np.testing.assert_allclose(found.effects, reference.effects, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_wrong_constants(model: Transformer, inputs: Pair) -> None:
    clean, _ = inputs
    with pytest.raises(ValueError, match=r"Expected replacement constants of shape .*\(3,\)"):
        sweep_edges(model, clean, ablation=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="Expected an ablation by name for hidden units"):
        sweep_neurons(model, clean, ablation=np.zeros((1, 1, 11, 6), np.float32))
