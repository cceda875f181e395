"""The functions of random programs, as values that say what they do.

Their text is that of a program; `in_words` is what a role says, given what they read.
"""

from dataclasses import dataclass

from interpbench_jax.rasp import Value

# What a masked value becomes.
BLANK = -1


@dataclass(frozen=True)
class GoOn:
    """The position that lies as far after another one as a token tells, around the end."""

    distances: tuple[int, ...]
    length: int

    def __call__(self, position: int, token: int) -> int:
        return (position + self.distances[token]) % self.length

    def __str__(self) -> str:
        return f"go on by {self.distances}, modulo {self.length}"

    def in_words(self, position: str, token: str) -> str:
        distance = f"the entry of {self.distances} for {token}"
        return f"{position} moved on by {distance}, modulo {self.length}"


@dataclass(frozen=True)
class Latin:
    """The entry of a Latin square: every change of either value changes it."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    names: tuple[int, ...]

    def __call__(self, first: int, second: int) -> int:
        return self.names[(self.rows[first] + self.columns[second]) % len(self.names)]

    def __str__(self) -> str:
        return f"Latin square of {self.rows} and {self.columns}, as {self.names}"

    def in_words(self, first: str, second: str) -> str:
        return f"the entry of a Latin square in the row of {first} and the column of {second}"


@dataclass(frozen=True)
class Threshold:
    """How many of some numbers the sum of two values' ranks reaches."""

    ranks: tuple[int, ...]
    steps: tuple[int, ...]

    def __call__(self, first: int, second: int) -> int:
        total = self.ranks[first] + self.ranks[second]
        return sum(total >= step for step in self.steps)

    def __str__(self) -> str:
        return f"the sum of ranks {self.ranks} in steps {self.steps}"

    def in_words(self, first: str, second: str) -> str:
        return f"how many of the steps {self.steps} the added ranks of {first} and {second} reach"


@dataclass(frozen=True)
class IsPosition:
    """Selects one position, whatever the query."""

    position: int

    def __call__(self, key: Value, query: Value) -> bool:
        return key == self.position

    def __str__(self) -> str:
        return f"key is {self.position}"

    def in_words(self, key: str, query: str) -> str:
        return f"{key} is {self.position}"


@dataclass(frozen=True)
class BothMarked:
    """Whether a token is marked, and what came before it was too."""

    marks: tuple[int, ...]
    is_first: bool

    def __call__(self, before: int, token: int) -> bool:
        is_marked = before in self.marks if self.is_first else bool(before)
        return is_marked and token in self.marks

    def __str__(self) -> str:
        return f"both marked by {self.marks}"

    def in_words(self, before: str, token: str) -> str:
        return f"whether {before} and {token} are both marks"


@dataclass(frozen=True)
class KeepIf:
    """A value where the marks select its task, else a blank.

    Attributes:
        marks: the tokens that select the second task; empty if what is read says so itself.
        wanted: whether the value is the second task's.
    """

    marks: tuple[int, ...]
    wanted: bool

    def __call__(self, flag: int, value: int) -> int:
        is_second = flag in self.marks if self.marks else bool(flag)
        return value if is_second == self.wanted else BLANK

    def __str__(self) -> str:
        return f"keep if {self._task} task"

    @property
    def _task(self) -> str:
        return "second" if self.wanted else "first"

    def in_words(self, flag: str, value: str) -> str:
        return f"{value} where {flag} selects the {self._task} task, else a blank"


@dataclass(frozen=True)
class Choose:
    """The one of two values that is no blank, by its task's table."""

    first: tuple[int, ...]
    second: tuple[int, ...]

    def __call__(self, first: int, second: int) -> int:
        if first != BLANK:
            return self.first[first]
        return self.second[second] if second != BLANK else self.first[0]

    def __str__(self) -> str:
        return f"choose from {self.first} or {self.second}"

    def in_words(self, first: str, second: str) -> str:
        return f"whichever of {first} and {second} is not blank, looked up in its own table"


def majority(two: tuple[int, int], third: int) -> int:
    """The value that most of three agree on; the third if none does."""
    first, second = two
    return first if first == second else third
