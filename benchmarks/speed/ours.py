"""The contestants that run on JAX: our sweeps, the plain `vmap` and the machine's peak rates."""

import importlib.metadata
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import interpbench_jax as ib
from benchmarks.speed.job import Job, Options, Prepared
from benchmarks.speed.plain import masked_forward_cost, sweep_plainly

_MATMUL_SIZE = {"cpu": 2048}
_ACCELERATOR_MATMUL_SIZE = 8192
_COPY_BYTES = 256 << 20


def sweep(job: Job, options: Options) -> Prepared:
    """Prepare our sweep of one model."""
    model = _model(job)
    if options.on_mesh:
        mesh = ib.sweep_mesh()

        def run_on_mesh() -> np.ndarray:
            return ib.sweep_edges(
                model, job.clean, job.corrupted, options=ib.SweepOptions(mesh=mesh)
            ).effects

        return Prepared(run_on_mesh, _facts())

    def run() -> np.ndarray:
        return ib.sweep_edges(
            model,
            job.clean,
            job.corrupted,
            universe=job.universe,
            options=ib.SweepOptions(max_bytes=options.max_bytes),
        ).effects

    return Prepared(run, _facts())


def sweep_together(job: Job, options: Options, stacked: bool | None = None) -> Prepared:
    """Prepare our sweep of several models of one shape in one call; None leaves stacking to it."""
    models, cleans, corrupteds = _several(job, options.models)

    def run() -> np.ndarray:
        results = ib.sweep_many(models, cleans, corrupteds, stacked=stacked)
        return np.concatenate([result.effects for result in results])

    return Prepared(run, _facts())


def sweep_in_turn(job: Job, options: Options) -> Prepared:
    """Prepare our sweep of several models of one shape, one call each."""
    models, cleans, corrupteds = _several(job, options.models)

    def run() -> np.ndarray:
        several = zip(models, cleans, corrupteds, strict=True)
        return np.concatenate([ib.sweep_edges(*one).effects for one in several])

    return Prepared(run, _facts())


def sweep_plain(job: Job, options: Options) -> Prepared:
    """Prepare the plain `vmap`."""
    model = _model(job)
    return Prepared(lambda: sweep_plainly(model, job.clean, job.corrupted), _facts())


def sweep_plain_with_cost(job: Job, options: Options) -> Prepared:
    """Prepare the plain `vmap` with XLA's cost of one chunk, which is compiled in advance."""
    cost = masked_forward_cost(_model(job), job.clean, job.corrupted)
    prepared = sweep_plain(job, options)
    return Prepared(prepared.run, {**prepared.facts, **cost})


def multiply(job: Job, options: Options) -> Prepared:
    """Prepare one large product of float32 matrices, which measures the machine's peak rate."""
    size = _MATMUL_SIZE.get(jax.default_backend(), _ACCELERATOR_MATMUL_SIZE)
    left, right = jax.random.normal(jax.random.key(0), (2, size, size), jnp.float32)
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest"))

    def run() -> np.ndarray:
        product(left, right).block_until_ready()
        return np.zeros(0)

    return Prepared(run, _facts() | {"flops": 2.0 * size**3})


def copy(job: Job, options: Options) -> Prepared:
    """Prepare one in-place pass over a large array, which measures the memory bandwidth."""
    array = jnp.ones(_COPY_BYTES // 4, jnp.float32)
    facts = _facts() | {"bytes": 2.0 * array.nbytes}
    add_one = jax.jit(lambda a: a + 1, donate_argnums=0)

    def run() -> np.ndarray:
        nonlocal array
        array = add_one(array).block_until_ready()
        return np.zeros(0)

    return Prepared(run, facts)


METHODS: Mapping[str, Callable[[Job, Options], Prepared]] = {
    "sweep": sweep,
    "sweep-together": sweep_together,
    "sweep-stacked": partial(sweep_together, stacked=True),
    "sweep-in-turn": sweep_in_turn,
    "plain": sweep_plain,
    "plain-with-cost": sweep_plain_with_cost,
    "multiply": multiply,
    "copy": copy,
}


def _model(job: Job) -> ib.Transformer:
    return ib.build_model(ib.TransformerConfig.from_dict(dict(job.config)), job.weights)


def _several(
    job: Job, count: int
) -> tuple[tuple[ib.Transformer, ...], tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return different models of one shape, each with its own inputs."""
    config = ib.TransformerConfig.from_dict(dict(job.config))
    models = []
    for index in range(count):
        scale = np.float32(1 + index / 256)
        weights = {name: array * scale for name, array in job.weights.items()}
        models.append(ib.build_model(config, weights))
    cleans = tuple(np.roll(job.clean, index, axis=0) for index in range(count))
    corrupteds = tuple(np.roll(job.corrupted, 2 * index, axis=0) for index in range(count))
    return tuple(models), cleans, corrupteds


def _facts() -> dict[str, str | float]:
    device = jax.devices()[0]
    return {
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "devices": float(jax.device_count()),
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
    }
