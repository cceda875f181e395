"""Texts as people read them."""

from collections.abc import Sequence


def plain(text: str) -> str:
    """A text on one line, without control characters, such as those that move a cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


def count(n: int, thing: str) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def cut_off(parts: Sequence[str], most: int = 3) -> str:
    """Some of a list, and how many are left out."""
    shown = ", ".join(parts[:most])
    return shown if len(parts) <= most else f"{shown}, and {len(parts) - most:,} more"
