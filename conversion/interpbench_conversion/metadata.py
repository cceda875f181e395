"""Upstream's `benchmark_metadata.json`, which describes its cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interpbench_conversion.errors import UpstreamFormatError
from interpbench_conversion.upstream_files import read_meta

METADATA_FILE = "benchmark_metadata.json"


@dataclass(frozen=True)
class CaseMetadata:
    """The metadata of one case.

    Attributes:
        vocab: the token of every id, BOS and PAD included; None if the metadata has none.
        task_description: upstream's sentence; empty if the metadata has none.
    """

    vocab: tuple[str, ...] | None
    task_description: str


def find_metadata(directory: Path, case_id: str) -> CaseMetadata | None:
    """Read a case's metadata from a file in the case's folder, or in the one above it.

    Returns:
        The metadata; None if there is no such file, or the case is not in it.

    Raises:
        UpstreamFormatError: if the file is not understood.
    """
    for folder in (directory, directory.parent):
        path = folder / METADATA_FILE
        if path.is_file():
            return _read_metadata(path, case_id)
    return None


def _read_metadata(path: Path, case_id: str) -> CaseMetadata | None:
    cases = read_meta(path).get("cases")
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise UpstreamFormatError(f'{path}: expected "cases" to be a list of objects.')
    for case in cases:
        if str(case.get("case_id")) == case_id:
            tokens, description = case.get("vocab"), case.get("task_description", "")
            if tokens is None:
                return CaseMetadata(None, str(description))
            if not isinstance(tokens, list) or not all(isinstance(t, str | int) for t in tokens):
                raise UpstreamFormatError(
                    f"{path}: expected the vocabulary of case {case_id!r} to be a list of tokens."
                )
            return CaseMetadata(token_order(tokens), str(description))
    return None


def token_order(tokens: Sequence[str | int]) -> tuple[str, ...]:
    """Return the token of every id: upstream sorts the vocabulary together with BOS and PAD."""
    return tuple(sorted({*map(str, tokens), "BOS", "PAD"}))
