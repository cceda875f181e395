"""Shards of a benchmark: their numbers, and the names of their folders."""

import re
from dataclasses import dataclass

from interpbench_jax.texts import shown

MOST_SHARDS = 100_000
_TEXT = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)
_FOLDER = re.compile(r"shard-(\d{1,6})-of-(\d{1,6})", re.ASCII)


@dataclass(frozen=True, order=True)
class Shard:
    """One of the shares into which the runs of a benchmark are cut.

    Attributes:
        index: the number of the share, from 0.
        of: the number of all shares. It may exceed the number of runs; then some shards are empty,
            and they do nothing but say so. A share can be empty in any case, next to a run that
            weighs more than a share, and a script that starts a fixed number of machines should
            not fail because of a small benchmark.

    Raises:
        ValueError: if the index is not from 0 to `of - 1`, or there are more than `MOST_SHARDS`.
    """

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of <= MOST_SHARDS:
            raise ValueError(
                f"Expected a shard i/n with i from 0 to n - 1 and n at most {MOST_SHARDS:,}, such "
                f"as 0/3, 1/3 and 2/3; got {self}."
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard that a text such as `0/3` names.

        Raises:
            ValueError: if it names none.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"Expected a shard as i/n, such as 0/3, 1/3 and 2/3; got {shown(text)}."
            )
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of_folder(cls, name: str) -> "Shard | None":
        """Return the shard whose folder has this name; None if it is not the name of one."""
        match = _FOLDER.fullmatch(name)
        if match is None or not int(match[1]) < int(match[2]) <= MOST_SHARDS:
            return None
        shard = cls(int(match[1]), int(match[2]))
        return shard if shard.folder_name == name else None

    @property
    def folder_name(self) -> str:
        """The name of its folder, within that of the benchmark."""
        return f"shard-{self.index}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"
