"""Texts for display."""

import reprlib
from collections.abc import Sequence

_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxdict = 12
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def plain(text: str) -> str:
    """The text on one line, without control characters such as those that move the cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


def count(n: int, thing: str) -> str:
    """A count of things, such as `1 pair` or `2 pairs`."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def cut_off(parts: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """The first parts of a list, followed by the number of parts that are left out."""
    some = between.join(parts[:most])
    return some if len(parts) <= most else f"{some}, and {len(parts) - most:,} more"


def shown(value: object) -> str:
    """An external value as messages show it: shortened, however long, large or deep it is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # An integer of more digits than Python prints.
        return "a number of very many digits"
