"""Vocabularies of the prompts' tokens: with ids of their own, or with GPT-2's."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interpbench_jax.cases.encoding import BOS
from interpbench_jax.cases.ioi.gpt2 import BOS_ID, D_VOCAB, NAME_IDS, WORD_IDS

_IDS = {
    **WORD_IDS,
    **{f" {name}": token_id for name, token_id in NAME_IDS.items()},
    BOS: BOS_ID,
}


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of the prompts and their ids.

    Attributes:
        tokens: every token of a prompt, with its leading space, in the order of GPT-2's ids.
        ids: the id of each token, ascending.
        size: the number of ids in the model's vocabulary.
    """

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether it has ids for tokens that occur in no prompt."""
        return self.size > len(self.tokens)

    @cached_property
    def id_of(self) -> dict[str, int]:
        """The id of each token."""
        return dict(zip(self.tokens, self.ids, strict=True))

    @property
    def bos(self) -> int:
        """The id of BOS."""
        return self.id_of[BOS]

    @cached_property
    def names(self) -> np.ndarray:
        """The ids of the names, int32, in the order of the table."""
        return np.asarray([self.id_of[f" {name}"] for name in NAME_IDS], np.int32)

    @cached_property
    def is_name(self) -> np.ndarray:
        """Whether each token is a name: bool `[tokens]`."""
        return np.isin(np.asarray(self.ids), self.names)


_TOKENS = tuple(sorted(_IDS, key=_IDS.__getitem__))

# GPT-2's id of every token, in the order of `PROMPT_TOKENS`.
GPT2_IDS = tuple(_IDS[token] for token in _TOKENS)

PROMPT_TOKENS = Vocabulary(_TOKENS, tuple(range(len(_TOKENS))), len(_TOKENS))
GPT2 = Vocabulary(_TOKENS, GPT2_IDS, D_VOCAB)
