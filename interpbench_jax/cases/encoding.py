"""Conversion of tokens to ids and back."""

from collections.abc import Mapping, Sequence

import numpy as np

from interpbench_jax.rasp import Value

BOS = "BOS"
PAD = "PAD"


def encode(
    sequence: Sequence[Value],
    token_ids: Mapping[str, int],
    min_seq_len: int,
    max_seq_len: int,
) -> np.ndarray:
    """The ids of one sequence, with BOS prepended if it is missing; see `Task.encode`.

    Raises:
        TypeError: if the sequence is a single string.
        ValueError: if a token is unknown or out of place, or the length is wrong.
    """
    if isinstance(sequence, str):
        raise TypeError(
            f"Expected a list of tokens, got the single string {sequence!r}; split it first."
        )
    texts = [str(token) for token in sequence]
    if texts[:1] != [BOS]:
        texts.insert(0, BOS)
    unknown = sorted(set(texts) - set(token_ids))
    if unknown:
        known = ", ".join(repr(text) for text in token_ids)
        raise ValueError(f"Expected tokens from {known}; got {', '.join(map(repr, unknown))}.")
    n_tokens = len(texts) - texts.count(PAD)
    if BOS in texts[1:] or PAD in texts[:n_tokens]:
        raise ValueError(f"Expected {BOS} only at the start, {PAD} only at the end; got {texts}.")
    if not min_seq_len <= n_tokens or len(texts) > max_seq_len:
        raise ValueError(
            f"Expected {min_seq_len - 1} to {max_seq_len - 1} tokens after {BOS}, got "
            f"{n_tokens - 1}" + (f" and {texts.count(PAD)} {PAD}." if PAD in texts else ".")
        )
    return np.asarray([token_ids[text] for text in texts], np.int32)


def decode(ids: Sequence[int] | np.ndarray, token_ids: Mapping[str, int]) -> tuple[str, ...]:
    """The tokens of one sequence of ids, BOS and PAD included.

    Raises:
        ValueError: if an id is unknown.
    """
    texts = {token_id: text for text, token_id in token_ids.items()}
    unknown = sorted({int(token_id) for token_id in ids} - set(texts))
    if unknown:
        raise ValueError(
            f"Expected ids from 0 to {len(texts) - 1}, got {', '.join(map(str, unknown))}; the "
            "row was probably encoded for another case."
        )
    return tuple(texts[int(token_id)] for token_id in ids)
