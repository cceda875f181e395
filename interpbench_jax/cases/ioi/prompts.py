"""The prompts: every one of them, drawing, and text to ids and back. NumPy only, no state.

A prompt is "Then, [first] and [second] went to the [location]. [giver] gave the [object] to": the
giver is one of the two, and the answer the other. The four templates of InterpBench are two
different ones, each written with both namings of its people.

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
        vocabulary: the ids.
    """

    vocabulary: Vocabulary

    @property
    def size(self) -> int:
        """How many different prompts there are."""
        n_names = len(self.vocabulary.names)
        return 2 * len(LOCATIONS) * len(OBJECTS) * n_names * (n_names - 1)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """The prompts of these numbers, int32 `[prompts, pos]`."""
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
        """Every prompt, in the order of their numbers."""
        return self._keep(self._every, split)

    def draw(self, n: int, rng: np.random.Generator, split: Split | None = None) -> np.ndarray:
        """Independent draws, uniform over the prompts of a split."""
        pool = self.list_all(split)
        return pool[rng.integers(0, len(pool), n)]

    def draw_unique(self, n: int, rng: np.random.Generator, split: Split | None) -> np.ndarray:
        """Draws of which no two are equal.

        Raises:
            ValueError: if there are fewer than `n`.
        """
        pool = self.list_all(split)
        if n > len(pool):
            where = "" if split is None else f" in split {split!r}"
            raise ValueError(
                f"Expected at most {len(pool):,} different inputs{where} to be asked for, got "
                f"{n:,}; ask for fewer, or allow repetitions."
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
        """The name that is right next, and the giver, which is the distractor: int32 `[rows]`."""
        giver = rows[:, _GIVER]
        is_first = rows[:, _FIRST] == giver
        return np.where(is_first, rows[:, _SECOND], rows[:, _FIRST]), giver

    def encode(self, prompt: str | Sequence[str]) -> np.ndarray:
        """The ids of a prompt, given as text or as its tokens; BOS is put before it.

        Returns:
            int32 of shape `[pos]`.

        Raises:
            ValueError: if it is anything but one of these prompts, with any three names.
        """
        text = prompt if isinstance(prompt, str) else "".join(map(str, prompt))
        tokens = _TOKEN.findall(text.removeprefix(BOS))
        if "".join(tokens) != text.removeprefix(BOS):
            raise ValueError(f"Expected a prompt such as {_EXAMPLE!r}, got {text!r}.")
        unknown = [token for token in tokens if token not in self.vocabulary.id_of]
        if unknown:
            raise ValueError(
                f"Expected a prompt of the {len(self.vocabulary.tokens)} tokens that the table "
                f"holds, such as {_EXAMPLE!r}; got {unknown[0]!r} in {text!r}. Names and words are "
                "those of `task.tokens`."
            )
        ids = np.asarray([self.vocabulary.id_of[token] for token in (BOS, *tokens)], np.int32)
        if len(ids) != N_POSITIONS or not self.is_prompt(ids[None])[0]:
            raise ValueError(
                f"Expected a prompt in the form of {_EXAMPLE!r}, without the name that it asks "
                f"for; got {text!r}."
            )
        return ids

    @cached_property
    def _every(self) -> np.ndarray:
        return self.rows(np.arange(self.size))

    @cached_property
    def _skeleton(self) -> np.ndarray:
        """Ids of the fixed words; -1 in the slots."""
        ids = [-1 if token is None else self.vocabulary.id_of[token] for token in _SKELETON]
        return np.asarray(ids, np.int32)

    def _ids(self, tokens: Sequence[str]) -> np.ndarray:
        return np.asarray([self.vocabulary.id_of[token] for token in tokens], np.int32)

    def _keep(self, rows: np.ndarray, split: Split | None) -> np.ndarray:
        return rows[self.is_in_split(rows, split)]

    def is_in_split(self, rows: np.ndarray, split: Split | None) -> np.ndarray:
        """Whether each prompt belongs to a split, the same in every vocabulary: bool `[rows]`."""
        places = np.searchsorted(np.asarray(self.vocabulary.ids), rows)
        return is_in_split(places, -1, split)
