"""Cut a language model's vocabulary to some of its tokens, and its context to some positions.

Nothing changes for a kept token: its embedding is a row of `W_E`, its logit comes from a column of
`W_U` and an entry of `b_U`, and none of our models normalizes over the vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from interpbench_conversion.selection import TensorSelection
from interpbench_jax.case import Case
from interpbench_jax.config import TransformerConfig
from interpbench_jax.weights import weight_shapes

# The axis of tokens, or of positions, in each of these weights.
_TOKEN_AXES: Mapping[str, int] = {"embed.W_E": 0, "unembed.W_U": 1, "unembed.b_U": 0}
_POSITION_AXES: Mapping[str, int] = {"pos_embed.W_pos": 0}

_NOTE = (
    "Only these tokens of the file's vocabulary are kept, under new ids 0, 1, ... in this order. "
    "Activations and kept logits are the file's; a softmax over the logits is over them alone."
)


@dataclass(frozen=True)
class KeptTokens:
    """The tokens that a smaller vocabulary has; their order gives the new ids.

    Attributes:
        token_ids: the tokens' ids in the full vocabulary.
        tokens: the string of each token.
        n_ctx: the number of positions to keep, from the first; None keeps all.

    Raises:
        ValueError: if the lengths differ, there is no token, an id or a token occurs twice, an id
            is not an integer from 0, or `n_ctx` is not an integer from 1.
    """

    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    n_ctx: int | None = None

    def __post_init__(self) -> None:
        if not self.token_ids or len(self.token_ids) != len(self.tokens):
            raise ValueError(
                f"Expected one token for each of one or more ids to keep, got {len(self.tokens)} "
                f"tokens for {len(self.token_ids)} ids."
            )
        if not all(type(token_id) is int and token_id >= 0 for token_id in self.token_ids):
            raise ValueError(f"Expected ids to keep to be integers from 0, got {self.token_ids}.")
        for what, values in (("id", self.token_ids), ("token", self.tokens)):
            if repeated := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"Expected each {what} to keep only once, got {repeated} again.")
        if self.n_ctx is not None and (type(self.n_ctx) is not int or self.n_ctx < 1):
            raise ValueError(f"Expected n_ctx to be an integer from 1, got {self.n_ctx!r}.")


def keep_tokens(case: Case, kept: KeptTokens) -> Case:
    """Return the case with only some of its tokens, with ids 0 to `len(kept.token_ids) - 1`.

    On inputs of kept tokens every activation equals the full model's, and so does each logit that
    is left, up to the rounding of a matrix product of another width. Circuit and description stay
    as they are; the provenance says what was kept, in ids of the original file.

    `convert.convert_case(keep_tokens=...)` does the same without holding the full tables in memory.

    Raises:
        ValueError: if the outputs are not the vocabulary, an id or `n_ctx` is outside the model,
            or a token differs from the case's own.
    """
    try:
        config = kept_config(case.config, kept)
        vocab = kept_vocab(case.vocab, kept)
    except ValueError as error:
        raise ValueError(f"Case {case.case_id!r}: {error}") from None
    selections = kept_selections(case.config, kept)
    weights = {
        name: selections[name].take(array) if name in selections else array
        for name, array in case.weights.items()
    }
    provenance = {**case.provenance, **kept_provenance(case.config, kept, case.provenance)}
    return replace(case, config=config, weights=weights, vocab=vocab, provenance=provenance)


def kept_config(config: TransformerConfig, kept: KeptTokens) -> TransformerConfig:
    """Return the smaller model's config.

    Raises:
        ValueError: if the outputs are not the vocabulary, or an id or `n_ctx` is outside it.
    """
    if config.d_vocab_out != config.d_vocab:
        raise ValueError(
            f"Expected outputs that are the tokens of the vocabulary, got {config.d_vocab_out} "
            f"outputs for {config.d_vocab} tokens: they are classes, which have no tokens' ids to "
            "keep. Convert the case without keep_tokens."
        )
    outside = [token_id for token_id in kept.token_ids if token_id >= config.d_vocab]
    if outside:
        raise ValueError(
            f"Expected ids to keep below d_vocab = {config.d_vocab}, got {outside}; they are "
            "probably another tokenizer's."
        )
    n_ctx = config.n_ctx if kept.n_ctx is None else kept.n_ctx
    if n_ctx > config.n_ctx:
        raise ValueError(f"Expected n_ctx to be at most the model's {config.n_ctx}, got {n_ctx}.")
    size = len(kept.token_ids)
    return replace(config, d_vocab=size, d_vocab_out=size, n_ctx=n_ctx)


def kept_selections(config: TransformerConfig, kept: KeptTokens) -> dict[str, TensorSelection]:
    """Return the kept part of each weight that has an axis of tokens or positions, by name.

    `config` is that of the full model.
    """
    shapes = weight_shapes(config)
    selections = {
        name: TensorSelection(shapes[name], axis, kept.token_ids)
        for name, axis in _TOKEN_AXES.items()
    }
    if kept.n_ctx is not None:
        positions = tuple(range(kept.n_ctx))
        for name, axis in _POSITION_AXES.items():
            selections[name] = TensorSelection(shapes[name], axis, positions)
    return selections


def kept_vocab(vocab: tuple[str, ...] | None, kept: KeptTokens) -> tuple[str, ...]:
    """Return the smaller vocabulary, checked against the full one if that is known.

    Raises:
        ValueError: if a token differs from that of the full vocabulary, or this is too short.
    """
    if vocab is not None:
        for token_id, token in zip(kept.token_ids, kept.tokens, strict=True):
            known = vocab[token_id] if token_id < len(vocab) else None
            if known != token:
                raise ValueError(f"Expected token {token_id} to be {known!r}, got {token!r}.")
    return kept.tokens


def kept_provenance(
    config: TransformerConfig, kept: KeptTokens, before: Mapping[str, object]
) -> dict[str, object]:
    """Return the provenance of a cut vocabulary, as plain JSON values.

    Args:
        config: the config of the model that was cut.
        kept: the tokens and positions that were kept.
        before: that model's provenance; if it was cut already, ids and sizes stay the file's.
    """
    ids_in_file = before.get("kept_token_ids", range(config.d_vocab))
    assert isinstance(ids_in_file, list | range)
    said: dict[str, object] = {
        "kept_token_ids": [ids_in_file[token_id] for token_id in kept.token_ids],
        "d_vocab_of_file": before.get("d_vocab_of_file", config.d_vocab),
        "note": _NOTE,
    }
    if kept.n_ctx is not None:
        said["n_ctx_of_file"] = before.get("n_ctx_of_file", config.n_ctx)
    return said
