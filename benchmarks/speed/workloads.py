"""The models and the inputs of the benchmark. Imports no JAX: the parent process needs none."""

import dataclasses

import numpy as np

from benchmarks.speed.job import Job
from interpbench_jax.config import TransformerConfig
from interpbench_jax.inputs import uniform_pairs
from interpbench_jax.loading import load_case
from interpbench_jax.universes import UniverseName, universe
from interpbench_jax.weights import weight_shapes

_POSITIONS = 10
_TOKENS = 10
_CLASSES = 5


def packaged_job(case_id: str, n_inputs: int, universe_name: UniverseName = "qkv") -> Job:
    """Return a packaged case with inputs of full length, uniform over its tokens."""
    case = load_case(case_id)
    pairs = uniform_pairs(case, n_inputs, seed=0).pairs
    assert pairs.corrupted_input_ids is not None
    return _job(
        f"case {case_id}",
        case.config,
        dict(case.weights),
        pairs.input_ids,
        pairs.corrupted_input_ids,
        universe_name,
    )


def random_job(d_model: int, n_inputs: int, *, n_layers: int = 2, n_heads: int = 4) -> Job:
    """Return a model with random weights, heads of `d_model / n_heads` and MLPs of `4 d_model`."""
    config = TransformerConfig(
        n_layers=n_layers,
        n_heads=n_heads,
        d_model=d_model,
        d_head=d_model // n_heads,
        d_mlp=4 * d_model,
        d_vocab=_TOKENS,
        d_vocab_out=_CLASSES,
        n_ctx=_POSITIONS,
        act_fn="gelu",
    )
    rng = np.random.default_rng(0)
    clean, corrupted = rng.integers(0, _TOKENS, (2, n_inputs, _POSITIONS), np.int32)
    weights = random_weights(config, rng)
    return _job(f"random, d_model {d_model}", config, weights, clean, corrupted, "qkv")


def random_weights(config: TransformerConfig, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw weights that keep activations of order 1 through any number of layers."""
    weights = {}
    for name, shape in weight_shapes(config).items():
        letter = name.rpartition(".")[2]
        if letter in ("W_E", "W_pos"):
            scale = 1.0
        elif letter.startswith("b_"):
            scale = 0.1
        else:
            scale = shape[-2] ** -0.5
        if letter in ("W_O", "W_out"):
            scale /= 2 * config.n_layers**0.5
        weights[name] = (scale * rng.standard_normal(shape)).astype(np.float32)
    return weights


def _job(
    label: str,
    config: TransformerConfig,
    weights: dict[str, np.ndarray],
    clean: np.ndarray,
    corrupted: np.ndarray,
    universe_name: UniverseName,
) -> Job:
    space = universe(universe_name, config.n_layers, config.n_heads)
    return Job(
        label=f"{label}, {len(clean):,} inputs",
        config=dataclasses.asdict(config),
        universe=universe_name,
        edges=tuple((str(edge.src), str(edge.dst)) for edge in space.edges),
        weights=weights,
        clean=clean,
        corrupted=corrupted,
    )
