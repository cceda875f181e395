"""The problems that `check` finds."""

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
    """One difference between a folder and what would be built, or a model that does not fit.

    Attributes:
        path: path of the file or folder, relative to the published folder.
        kind: `"missing"`, `"unexpected"`: a file is. `"unreadable"`: a table or a model is.
            `"schema"`, `"rows"`: those of a table differ. `"encoding"`: the right rows as other
            bytes, although the same release of pyarrow wrote them. `"digest"`: the card or
            Croissant does not describe a file. `"text"`: another difference in those two.
            `"model"`: a model does not fit the declared task. `"certificate"`: a certificate
            cannot be read, or is for other weights. `"writer"`: the right rows, written by another
            release of pyarrow; no error. `"absent"`: some cases have no model; no error.
        message: what was expected, what was found, what to do.
    """

    path: str
    kind: ProblemKind
    message: str

    @property
    def is_error(self) -> bool:
        """Whether this is an error, and not only a remark."""
        return self.kind not in _REMARKS

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"
