"""What `check` finds."""

from dataclasses import dataclass
from typing import Literal

ProblemKind = Literal[
    "missing",
    "unexpected",
    "unreadable",
    "schema",
    "rows",
    "encoding",
    "digest",
    "text",
    "model",
    "certificate",
    "writer",
    "absent",
]
_REMARKS = ("writer", "absent")


@dataclass(frozen=True)
class Problem:
    """One way in which a folder is not what would be built, or holds a model that does not fit.

    Attributes:
        path: the file or the folder, relative to the published folder.
        kind: `"missing"`, `"unexpected"`: the file. `"unreadable"`: a table's or a model's.
            `"schema"`, `"rows"`: a table's. `"encoding"`: the right rows as other bytes, though
            the same release of pyarrow wrote them. `"digest"`: the card or Croissant does not
            describe a file. `"text"`: another difference in those two. `"model"`: a model is not
            one of the declared task. `"certificate"`: it cannot be read, or is of other weights.
            `"writer"`: the right rows, written by another release of pyarrow; no error.
            `"absent"`: some cases have no model; no error.
        message: what was expected, what was found, what to do.
    """

    path: str
    kind: ProblemKind
    message: str

    @property
    def is_error(self) -> bool:
        """Whether something is wrong, rather than worth a remark."""
        return self.kind not in _REMARKS

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"
