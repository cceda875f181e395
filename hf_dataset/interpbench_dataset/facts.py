"""Size and digest of a published file."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class FileFacts:
    """Size and digest of one file.

    Attributes:
        path: relative to the published folder, with forward slashes.
        n_bytes: its size.
        sha256: its digest, 64 hexadecimal digits.
    """

    path: str
    n_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: str, data: bytes) -> "FileFacts":
        """Return the facts of a file with these bytes."""
        return cls(path, len(data), hashlib.sha256(data).hexdigest())
