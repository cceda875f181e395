"""Attention's contractions compared with einsum, under all of JAX's transformations."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from interpbench_jax.model.contractions import attention_mix, attention_scores, contract

# All sizes differ.
QUERIES, KEYS, HEADS, WIDTH, BATCH = 4, 5, 2, 3, 6
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12}
Sum = Callable[[jax.Array, jax.Array], jax.Array]


# The sums of the engine, whose axes have another order.
ENGINE_SCORES, ENGINE_MIX = "hdib,hdjb->hijb", "hijb,hdjb->hdib"


def by_einsum(equation: str, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.einsum(equation, x, y, precision=jax.lax.Precision.HIGHEST)


def scores_by_einsum(q: jax.Array, k: jax.Array) -> jax.Array:
    return jnp.einsum("ihdb,jhdb->ijhb", q, k, precision=jax.lax.Precision.HIGHEST)


def mix_by_einsum(pattern: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.einsum("ijhb,jhdb->ihdb", pattern, v, precision=jax.lax.Precision.HIGHEST)


SUMS: dict[str, tuple[Sum, Sum, tuple[int, ...], tuple[int, ...]]] = {
    "scores": (
        attention_scores,
        scores_by_einsum,
        (QUERIES, HEADS, WIDTH, BATCH),
        (KEYS, HEADS, WIDTH, BATCH),
    ),
    "mix": (
        attention_mix,
        mix_by_einsum,
        (QUERIES, KEYS, HEADS, BATCH),
        (KEYS, HEADS, WIDTH, BATCH),
    ),
    "engine scores": (
        partial(contract, ENGINE_SCORES),
        partial(by_einsum, ENGINE_SCORES),
        (HEADS, WIDTH, QUERIES, BATCH),
        (HEADS, WIDTH, KEYS, BATCH),
    ),
    "engine mix": (
        partial(contract, ENGINE_MIX),
        partial(by_einsum, ENGINE_MIX),
        (HEADS, QUERIES, KEYS, BATCH),
        (HEADS, WIDTH, KEYS, BATCH),
    ),
}


def draw(shape: tuple[int, ...], seed: int, dtype: np.typing.DTypeLike = np.float32) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def assert_same(found: jax.Array, expected: jax.Array) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    tolerance = TOLERANCE[np.dtype(expected.dtype)]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=10 * tolerance)


@pytest.fixture(params=SUMS)
def case(request: pytest.FixtureRequest) -> tuple[Sum, Sum, jax.Array, jax.Array]:
    ours, plain, x_shape, y_shape = SUMS[request.param]
    return ours, plain, draw(x_shape, 0), draw(y_shape, 1)


Case = tuple[Sum, Sum, jax.Array, jax.Array]


def test_a_sum_by_hand() -> None:
    q = jnp.asarray([1.0, 2.0]).reshape(1, 1, 2, 1)
    k = jnp.asarray([[3.0, 4.0], [5.0, 6.0]]).reshape(2, 1, 2, 1)
    assert attention_scores(q, k).ravel().tolist() == [11.0, 17.0]
    pattern = jnp.asarray([0.25, 0.75]).reshape(1, 2, 1, 1)
    assert attention_mix(pattern, k).ravel().tolist() == [4.5, 5.5]


@pytest.mark.parametrize("name", SUMS)
def test_equals_einsum(name: str, x64: None) -> None:
    ours, plain, x_shape, y_shape = SUMS[name]
    for dtype in (np.float32, np.float64):
        x, y = draw(x_shape, 0, dtype), draw(y_shape, 1, dtype)
        assert_same(ours(x, y), plain(x, y))
        assert_same(jax.jit(ours)(x, y), plain(x, y))


@pytest.mark.parametrize("name", SUMS)
def test_derivatives_of_every_order(name: str, x64: None) -> None:
    ours, plain, x_shape, y_shape = SUMS[name]
    x, y = (draw(shape, seed, np.float64) for seed, shape in enumerate((x_shape, y_shape)))
    weight = draw(plain(x, y).shape, 2, np.float64)
    tangents = (draw(x_shape, 3, np.float64), draw(y_shape, 4, np.float64))

    def curved(sums: Sum) -> Callable[[jax.Array, jax.Array], jax.Array]:
        return lambda x, y: (weight * jnp.tanh(sums(x, y))).sum()

    for order in (jax.grad, lambda f, argnums: jax.grad(lambda *a: jnp.sin(f(*a)), argnums)):
        found, expected = (
            jax.jit(order(curved(each), argnums=(0, 1)))(x, y) for each in (ours, plain)
        )
        jax.tree.map(assert_same, found, expected)
    found, expected = (jax.jit(partial(jax.jvp, each))((x, y), tangents) for each in (ours, plain))
    jax.tree.map(assert_same, found, expected)

    # Third derivatives by reverse over forward over reverse, second ones by forward over reverse.
    def third(sums: Sum) -> jax.Array:
        def second(x: jax.Array) -> jax.Array:
            gradient = jax.grad(curved(sums))
            return (jax.jvp(lambda x: gradient(x, y), (x,), tangents[:1])[1] ** 2).sum()

        return jax.grad(second)(x)

    assert_same(*(jax.jit(third, static_argnums=0)(each) for each in (ours, plain)))


@pytest.mark.parametrize("argument", [0, 1])
def test_hessian(case: Case, argument: int) -> None:
    ours, plain, x, y = case
    small = x[..., :2], y[..., :2]
    found, expected = (
        jax.jit(jax.hessian(lambda x, y, each=each: (each(x, y) ** 2).sum(), argument))(*small)
        for each in (ours, plain)
    )
    assert_same(found, expected)


@pytest.mark.parametrize("which", ["first", "second", "both"])
def test_vmap_over_each_argument_and_axis(case: Case, which: str) -> None:
    ours, plain, x, y = case

    def over_every_axis(sums: Sum) -> list[jax.Array]:
        found = []
        for axis in range(-1, 5):
            in_axes = (None if which == "second" else axis, None if which == "first" else axis)
            arguments = [
                array if each is None else jnp.stack([array, 2 * array, -array], each)
                for array, each in zip((x, y), in_axes, strict=True)
            ]
            found.append(jax.vmap(sums, in_axes, out_axes=1)(*arguments))
        return found

    found, expected = (jax.jit(over_every_axis, static_argnums=0)(each) for each in (ours, plain))
    jax.tree.map(assert_same, found, expected)


def test_vmap_of_vmap_of_a_gradient(case: Case) -> None:
    ours, plain, x, y = case
    xs = jnp.stack([x, 2 * x])
    ys = jnp.stack([y, -y, 3 * y], axis=-1)

    def gradients(sums: Sum) -> tuple[jax.Array, jax.Array]:
        gradient = jax.grad(lambda x, y: (sums(x, y) ** 2).sum(), argnums=(0, 1))
        return jax.vmap(jax.vmap(gradient, (None, -1)), (0, None))(xs, ys)

    compiled = jax.jit(gradients, static_argnums=0)
    jax.tree.map(assert_same, compiled(ours), compiled(plain))


def test_inside_scan_and_map(case: Case) -> None:
    ours, plain, x, y = case

    def walk(sums: Sum, x: jax.Array) -> jax.Array:
        def step(carry: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
            total = sums(scale * carry, y).sum()
            return carry + 1e-3 * total, total

        last, totals = jax.lax.scan(step, x, jnp.asarray([0.5, 1.0, 2.0]))
        return last.sum() + totals.sum()

    for function in (walk, jax.grad(walk, argnums=1)):
        compiled = jax.jit(function, static_argnums=0)
        assert_same(compiled(ours, x), compiled(plain, x))
    xs = jnp.stack([x, -x])
    mapped = jax.lax.map(lambda x: ours(x, y), xs)
    assert_same(mapped, jax.vmap(lambda x: plain(x, y))(xs))


def test_inside_shard_map(case: Case) -> None:
    ours, plain, x, y = case
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("shard",))
    last = PartitionSpec(None, None, None, "shard")

    def gradient(x: jax.Array, y: jax.Array) -> jax.Array:
        return jax.grad(lambda x: (ours(x, y) ** 2).sum())(x)

    for function, expected in (
        (ours, plain(x, y)),
        (gradient, jax.grad(lambda x: (plain(x, y) ** 2).sum())(x)),
    ):
        spread = jax.shard_map(
            function, mesh=mesh, in_specs=(last, last), out_specs=last, check_vma=False
        )
        assert_same(jax.jit(spread)(x, y), expected)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(33, 5, 3), (4, 33, 3), (4, 5, 33)])
def test_large_sums_are_einsums(sizes: tuple[int, int, int]) -> None:
    queries, keys, width = sizes
    q = draw((queries, HEADS, width, BATCH), 0)
    k, v = (draw((keys, HEADS, width, BATCH), seed) for seed in (1, 2))
    pattern = draw((queries, keys, HEADS, BATCH), 3)
    for ours, plain, x, y in (
        (attention_scores, scores_by_einsum, q, k),
        (attention_mix, mix_by_einsum, pattern, v),
    ):
        assert "interpbench_contract" not in str(jax.make_jaxpr(ours)(x, y))
        np.testing.assert_allclose(ours(x, y), plain(x, y), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_terms", [32, 33, 70])
@pytest.mark.parametrize("equation", [ENGINE_SCORES, ENGINE_MIX])
def test_long_sums_are_cut_into_runs(equation: str, n_terms: int, x64: None) -> None:
    sizes: dict[str, int] = {"h": HEADS, "d": WIDTH, "i": QUERIES, "j": KEYS, "b": BATCH}
    sizes["d" if equation == ENGINE_SCORES else "j"] = n_terms
    left, right = equation.split("->")[0].split(",")
    x, y = (
        draw(tuple(sizes[index] for index in indices), seed, np.float64)
        for seed, indices in enumerate((left, right))
    )
    gradients = [
        jax.grad(lambda x, y, each=each: jnp.sin(each(equation, x, y)).sum(), (0, 1))(x, y)
        for each in (contract, by_einsum)
    ]
    assert_same(contract(equation, x, y), by_einsum(equation, x, y))
    jax.tree.map(assert_same, *gradients)


def lowered(equation: str, terms: int, platform: str) -> str:
    """The program of a sum over so many terms, for a platform that need not be here."""
    x, y = draw((3, terms, 4), 0), draw((3, terms, 4), 1)
    traced = jax.jit(lambda x, y: contract(equation, x, y)).trace(x, y)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_platform_that_is_compiled_for_decides_how_a_sum_is_computed(platform: str) -> None:
    equation = "idb,jdb->ijb"
    assert "dot_general" not in lowered(equation, 32, platform)
    assert ("dot_general" in lowered(equation, 33, platform)) == (platform != "cpu")
    assert ("while" in lowered(equation, 33, platform)) == (platform == "cpu")


@pytest.mark.parametrize("name", ["scores", "mix"])
def test_attention_of_short_inputs_is_written_out(name: str) -> None:
    ours, _, x_shape, y_shape = SUMS[name]
    x, y = draw(x_shape, 0), draw(y_shape, 1)
    assert "interpbench_contract" in str(jax.make_jaxpr(ours)(x, y))
