"""A model's weights as a flat table of named arrays, and as a safetensors file.

Names and shapes are TransformerLens's: `blocks.0.attn.W_Q` is `[heads, d_model, d_head]`.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from interpbench_jax.config import TransformerConfig
from interpbench_jax.storage import read_bytes
from interpbench_jax.texts import cut_off

FLOAT_DTYPES = ("float16", "bfloat16", "float32", "float64")
_BLOCK_ELEMENTS = 1 << 16
_DTYPES = {
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


def weight_shapes(config: TransformerConfig) -> dict[str, tuple[int, ...]]:
    """The name and shape of every weight of a model with this config."""
    heads, d_model, d_head = config.n_heads, config.d_model, config.d_head
    shapes: dict[str, tuple[int, ...]] = {
        "embed.W_E": (config.d_vocab, d_model),
        "pos_embed.W_pos": (config.n_ctx, d_model),
    }
    for layer in range(config.n_layers):
        attn, mlp = f"blocks.{layer}.attn", f"blocks.{layer}.mlp"
        for letter in "QKV":
            shapes[f"{attn}.W_{letter}"] = (heads, d_model, d_head)
            shapes[f"{attn}.b_{letter}"] = (heads, d_head)
        shapes[f"{attn}.W_O"] = (heads, d_head, d_model)
        shapes[f"{attn}.b_O"] = (d_model,)
        shapes[f"{mlp}.W_in"] = (d_model, config.d_mlp)
        shapes[f"{mlp}.b_in"] = (config.d_mlp,)
        shapes[f"{mlp}.W_out"] = (config.d_mlp, d_model)
        shapes[f"{mlp}.b_out"] = (d_model,)
    shapes["unembed.W_U"] = (d_model, config.d_vocab_out)
    shapes["unembed.b_U"] = (config.d_vocab_out,)
    return shapes


def check_weights(config: TransformerConfig, weights: Mapping[str, np.ndarray]) -> None:
    """Reject weights that do not fit a config exactly.

    Raises:
        ValueError: if a weight is missing or unknown, has the wrong shape, is not a float or not
            finite, or if dtypes differ; the message names the weights, or the dtypes.
    """
    shapes = weight_shapes(config)
    missing = [name for name in shapes if name not in weights]
    unknown = [name for name in weights if name not in shapes]
    if missing or unknown:
        raise ValueError(
            f"Expected exactly the {len(shapes)} weights of this config; missing: "
            f"{_listed(missing)}, left over: {_listed(unknown)}. The config probably belongs to "
            "another model."
        )
    for name, shape in shapes.items():
        array = weights[name]
        if tuple(array.shape) != shape:
            raise ValueError(
                f"Expected {name} of shape {shape}, got {tuple(array.shape)}; "
                "the config probably belongs to another model."
            )
        if array.dtype.name not in FLOAT_DTYPES:
            raise ValueError(f"Expected {name} to be one of {FLOAT_DTYPES}, got {array.dtype}.")
        if not is_finite(array):
            raise ValueError(f"Expected finite numbers in {name}, got infinity or NaN.")
    dtypes = sorted({array.dtype.name for array in weights.values()})
    if len(dtypes) > 1:
        raise ValueError(f"Expected weights of one dtype, got {dtypes}.")


def _listed(names: list[str]) -> str:
    return f"[{cut_off([f'{name!r:.80}' for name in names], most=8)}]"


def is_finite(array: np.ndarray) -> bool:
    """Whether all numbers of an array are finite; needs memory for a small block only."""
    blocks = np.nditer(
        array,
        flags=("buffered", "external_loop", "zerosize_ok"),
        order="K",
        buffersize=_BLOCK_ELEMENTS,
    )
    return all(bool(np.isfinite(block).all()) for block in blocks)


def random_weights(
    config: TransformerConfig, seed: int = 0, std: float | None = None
) -> dict[str, np.ndarray]:
    """Weights of a model before training, float32: normally distributed, with biases of 0.

    Args:
        config: the model's config.
        seed: random seed for the weights.
        std: their standard deviation; the default is 0.8 / sqrt(d_model), as in TransformerLens.
    """
    rng = np.random.default_rng(seed)
    scale = 0.8 / config.d_model**0.5 if std is None else std
    return {
        name: np.zeros(shape, np.float32)
        if name.rpartition(".")[2].startswith("b_")
        else (scale * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in weight_shapes(config).items()
    }


def digest_weights(weights: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 digest of the file that `encode_weights` returns, in hexadecimal."""
    return hashlib.sha256(encode_weights(weights)).hexdigest()


def load_weights(
    path: Path, config: TransformerConfig, sha256: str | None = None
) -> dict[str, np.ndarray]:
    """Read weights that fit a config from a safetensors file.

    Args:
        path: the file.
        config: the model's config.
        sha256: the file's expected SHA-256 digest in hexadecimal, if it is known.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a safetensors file, does not have this config's weights, or has
            another digest.
    """
    from safetensors import SafetensorError, deserialize

    if not path.is_file():
        raise FileNotFoundError(f"Expected weights at {path}, found no such file.")
    try:
        data = read_bytes(path, _most_bytes(config))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if sha256 not in (None, hashlib.sha256(data).hexdigest()):
        raise ValueError(
            f"{path}: Expected the weights whose digest the config names, got others: the file was "
            "changed, or a save was cut off between two files. Convert or download the case again."
        )
    try:
        weights = dict(_array(name, entry) for name, entry in deserialize(data))
    except SafetensorError as error:
        raise ValueError(
            f"Expected a safetensors file at {path}, got one that cannot be opened ({error}); "
            "it was probably cut short: convert or download it again."
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        check_weights(config, weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return weights


def encode_weights(weights: Mapping[str, np.ndarray]) -> bytes:
    """Weights as the bytes of a safetensors file; equal weights give equal bytes."""
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in sorted(weights.items())}
    return save(contiguous, metadata={"format": "interpbench-weights"})


def _most_bytes(config: TransformerConfig) -> int:
    """An upper bound on the bytes of a file of this config's weights: float64, and a header."""
    shapes = weight_shapes(config)
    return 8 * sum(map(math.prod, shapes.values())) + 1024 * (len(shapes) + 64)


def _array(name: str, entry: Mapping[str, Any]) -> tuple[str, np.ndarray]:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"Expected {name} to be one of {FLOAT_DTYPES}, got {entry['dtype']}.")
    array = np.frombuffer(bytes(entry["data"]), _DTYPES[entry["dtype"]])
    return name, array.reshape(entry["shape"])
