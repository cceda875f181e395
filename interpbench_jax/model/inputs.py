"""Conversion and checks of the token ids that a model is given."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from interpbench_jax.axes import Tokens
from interpbench_jax.config import TransformerConfig


def as_tokens(given: object) -> Int[Array | np.ndarray, "..."]:
    """Return token ids as an array, from anything that holds them: lists, a dataset's column.

    Raises:
        TypeError: if it is text, or not a sequence.
        ValueError: if rows differ in length.
    """
    if isinstance(given, (np.ndarray, Array)):
        return given
    if isinstance(given, str):
        raise TypeError(
            f"Expected token ids, integers [batch, pos], got the text {given!r:.80}; "
            "case.encode(...) gives the ids of a sequence of tokens."
        )
    try:
        # A tensor is an array to NumPy; a column of a dataset is a sequence of lists.
        array = np.asarray(given if hasattr(given, "__array__") else list(given))  # pyright: ignore
    except TypeError:
        raise TypeError(
            f"Expected token ids, integers [batch, pos], got {type(given).__name__}."
        ) from None
    except ValueError:
        raise ValueError(
            "Expected token ids [batch, pos] in rows of one length, got rows of several lengths; "
            "pad them, as case.sample does, or pass one length at a time."
        ) from None
    if array.dtype.kind in "US":
        raise TypeError(
            "Expected token ids, integers [batch, pos], got tokens as text; case.encode(...) gives "
            "the ids of one sequence."
        )
    return array.astype(np.int32) if array.dtype.kind == "i" else array


def check_tokens(config: TransformerConfig, tokens: Tokens) -> None:
    """Raise an error if a model of this config cannot read these tokens.

    Their values are checked only outside a trace, where they are known.

    Raises:
        ValueError: if they are not integers of shape `[batch, pos]` with at most `n_ctx`
            positions, or are not ids of the vocabulary.
    """
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ValueError(
            f"Expected tokens as integers of shape (batch, pos), got {tokens.dtype} of shape "
            f"{tokens.shape}; for one input, pass tokens[None]."
        )
    if not 0 < tokens.shape[1] <= config.n_ctx:
        raise ValueError(
            f"Expected 1 to {config.n_ctx} positions, got {tokens.shape[1]}; shorten the inputs."
        )
    if isinstance(tokens, Tracer) or tokens.size == 0:
        return
    values = np.asarray(tokens)
    if values.min() < 0 or values.max() >= config.d_vocab:
        raise ValueError(
            f"Expected token ids from 0 to {config.d_vocab - 1}, got {values.min()} to "
            f"{values.max()}; the inputs were probably made for another case."
        )
