"""The space of prompts: listing, drawing, and encoding. NumPy only, no state.

A prompt is "Then, [first] and [second] went to the [location]. [giver] gave the [object] to": the
giver is one of the two people, and the answer is the other. InterpBench's four templates are two
distinct ones, each written twice with the names of its people exchanged.

Source: Wang et al. 2023 (arXiv:2211.00593), in InterpBench's form.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interpbench_jax.cases.encoding import BOS
from interpbench_jax.cases.ioi.vocabulary import Vocabulary
from interpbench_jax.cases.sequences import Split, is_in_split

LOCATIONS = (" store", " market")
OBJECTS = (" milk", " eggs", " bread")

_FIRST, _SECOND, _LOCATION, _GIVER, _OBJECT = 3, 5, 9, 11, 14
_SKELETON = (
    *(BOS, "Then", ",", None, " and", None, " went", " to"),
    *(" the", None, ".", None, " gave", " the", None, " to"),
)
N_POSITIONS = len(_SKELETON)
_EXAMPLE = "Then, Mary and John went to the store. John gave the milk to"
_TOKEN = re.compile(r" ?[A-Za-z]+|[,.]")


@dataclass(frozen=True)
class PromptSpace:
    """Every prompt, as int32 rows of `N_POSITIONS` ids.

    Prompts are numbered: first by whether the giver is named second (0) or first (1), then by
    location, object, first name and second name.

    Attributes:
        vocabulary: the tokens and their ids.
    """

    vocabulary: Vocabulary

    @property
    def size(self) -> int:
        """The number of different prompts."""
        n_names = len(self.vocabulary.names)
        return 2 * len(LOCATIONS) * len(OBJECTS) * n_names * (n_names - 1)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """The prompts with these numbers: int32 `[prompts, pos]`."""
        names = self.vocabulary.names
        numbers, second = np.divmod(numbers, len(names) - 1)
        numbers, first = np.divmod(numbers, len(names))
        numbers, item = np.divmod(numbers, len(OBJECTS))
        is_first, place = np.divmod(numbers, len(LOCATIONS))
        second = second + (second >= first)
        rows = np.tile(self._skeleton, (len(numbers), 1))
        rows[:, _FIRST], rows[:, _SECOND] = names[first], names[second]
        rows[:, _GIVER] = np.where(is_first == 1, names[first], names[second])
        rows[:, _LOCATION] = self._ids(LOCATIONS)[place]
        rows[:, _OBJECT] = self._ids(OBJECTS)[item]
        return rows

    def list_all(self, split: Split | None = None) -> np.ndarray:
        """Every prompt of a split, in the order of their numbers."""
        return self._keep(self._every, split)

    def draw(self, n: int, rng: np.random.Generator, split: Split | None = None) -> np.ndarray:
        """Independent draws, uniform over the prompts of a split."""
        pool = self.list_all(split)
        return pool[rng.integers(0, len(pool), n)]

    def draw_unique(self, n: int, rng: np.random.Generator, split: Split | None) -> np.ndarray:
        """Draws without replacement.

        Raises:
            ValueError: if the split has fewer than `n` prompts.
        """
        pool = self.list_all(split)
        if n > len(pool):
            where = "" if split is None else f" in split {split!r}"
            raise ValueError(
                f"Expected a request for at most {len(pool):,} different inputs{where}, got {n:,}; "
                "request fewer, or allow repetitions."
            )
        return pool[rng.permutation(len(pool))[:n]]

    def is_prompt(self, rows: np.ndarray) -> np.ndarray:
        """Whether each row has the form of a prompt, with any three names: bool `[rows]`."""
        slots = {
            **dict.fromkeys((_FIRST, _SECOND, _GIVER), self.vocabulary.names),
            _LOCATION: self._ids(LOCATIONS),
            _OBJECT: self._ids(OBJECTS),
        }
        fits = np.ones(len(rows), bool)
        for position, fixed in enumerate(self._skeleton):
            allowed = slots[position] if position in slots else fixed
            fits &= np.isin(rows[:, position], allowed)
        return fits

    def answers(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The correct next name, and the giver, which is the distractor: int32 `[rows]` each."""
        giver = rows[:, _GIVER]
        is_first = rows[:, _FIRST] == giver
        return np.where(is_first, rows[:, _SECOND], rows[:, _FIRST]), giver

    def encode(self, prompt: str | Sequence[str]) -> np.ndarray:
        """The ids of a prompt, given as text or as its tokens, with BOS prepended.

        Returns:
            int32 of shape `[pos]`.

        Raises:
            ValueError: if it does not have the form of a prompt; any three names are allowed.
        """
        text = prompt if isinstance(prompt, str) else "".join(map(str, prompt))
        tokens = _TOKEN.findall(text.removeprefix(BOS))
        if "".join(tokens) != text.removeprefix(BOS):
            raise ValueError(f"Expected a prompt such as {_EXAMPLE!r}, got {text!r}.")
        unknown = [token for token in tokens if token not in self.vocabulary.id_of]
        if unknown:
            raise ValueError(
                f"Expected a prompt of the {len(self.vocabulary.tokens)} tokens in the table, such "
                f"as {_EXAMPLE!r}; got {unknown[0]!r} in {text!r}. The allowed names and words are "
                "in `task.tokens`."
            )
        ids = np.asarray([self.vocabulary.id_of[token] for token in (BOS, *tokens)], np.int32)
        if len(ids) != N_POSITIONS or not self.is_prompt(ids[None])[0]:
            raise ValueError(
                f"Expected a prompt in the form of {_EXAMPLE!r}, without the name that completes "
                f"it; got {text!r}."
            )
        return ids

    @cached_property
    def _every(self) -> np.ndarray:
        return self.rows(np.arange(self.size))

    @cached_property
    def _skeleton(self) -> np.ndarray:
        """The ids of the fixed words; -1 in the slots."""
        ids = [-1 if token is None else self.vocabulary.id_of[token] for token in _SKELETON]
        return np.asarray(ids, np.int32)

    def _ids(self, tokens: Sequence[str]) -> np.ndarray:
        return np.asarray([self.vocabulary.id_of[token] for token in tokens], np.int32)

    def _keep(self, rows: np.ndarray, split: Split | None) -> np.ndarray:
        return rows[self.is_in_split(rows, split)]

    def is_in_split(self, rows: np.ndarray, split: Split | None) -> np.ndarray:
        """Whether each prompt is in a split: bool `[rows]`, the same in every vocabulary."""
        places = np.searchsorted(np.asarray(self.vocabulary.ids), rows)
        return is_in_split(places, -1, split)
