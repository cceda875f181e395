"""Readers of fields of arbitrary JSON objects; every error message names the field."""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from interpbench_jax.texts import shown

Item = TypeVar("Item")
Choice = TypeVar("Choice", bound=str)
Reader = Callable[[object, str], Item]

_LARGEST = sys.float_info.max
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def read_fields(value: object, name: str, keys: Iterable[str]) -> dict[str, object]:
    """An object that has exactly these keys.

    Raises:
        ValueError: if it is not an object, or a key is missing or left over.
    """
    expected = set(keys)
    if not isinstance(value, dict):
        raise ValueError(f"Expected {name} to be an object, got {shown(value)}.")
    if set(value) != expected:
        missing, others = sorted(expected - set(value)), sorted(set(value) - expected)
        raise ValueError(
            f"Expected {name} to have the keys {sorted(expected)}; missing: {shown(missing)}, left "
            f"over: {shown(others)}."
        )
    return value


def read_text(value: object, name: str) -> str:
    """A string.

    Raises:
        ValueError: if it is anything else.
    """
    if not isinstance(value, str):
        raise ValueError(f"Expected {name} to be a string, got {shown(value)}.")
    return value


def read_choice(value: object, name: str, choices: tuple[Choice, ...]) -> Choice:
    """One of some strings.

    Raises:
        ValueError: if it is anything else.
    """
    for choice in choices:
        if value == choice:
            return choice
    raise ValueError(f"Expected {name} to be one of {', '.join(choices)}; got {shown(value)}.")


def read_digest(value: object, name: str) -> str:
    """A SHA-256 in hexadecimal.

    Raises:
        ValueError: if it is anything else.
    """
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"Expected {name} to be 64 hexadecimal digits, got {shown(value)}.")
    return value


def read_count(value: object, name: str) -> int:
    """An integer of at least 0.

    Raises:
        ValueError: if it is anything else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"Expected {name} to be an integer of at least 0, got {shown(value)}.")
    return value


def read_number(value: object, name: str) -> float:
    """A finite number.

    Raises:
        ValueError: if it is anything else.
    """
    # A bool is an int, an int can be too large for a float, and NaN is within no bounds.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not -_LARGEST <= value <= _LARGEST
    ):
        raise ValueError(f"Expected {name} to be a finite number, got {shown(value)}.")
    return float(value)


def read_share(value: object, name: str) -> float:
    """A number from 0 to 1.

    Raises:
        ValueError: if it is anything else.
    """
    share = read_number(value, name)
    if not 0 <= share <= 1:
        raise ValueError(f"Expected {name} to be from 0 to 1, got {share}.")
    return share


def optional(read: Reader[Item]) -> Reader[Item | None]:
    """A reader that also accepts null."""
    return lambda value, name: None if value is None else read(value, name)


def mapping_of(read: Reader[Item]) -> Reader[Mapping[str, Item]]:
    """A reader of an object whose values are all of one kind."""

    def read_mapping(value: object, name: str) -> Mapping[str, Item]:
        if not isinstance(value, dict):
            raise ValueError(f"Expected {name} to be an object, got {shown(value)}.")
        found = {key: read(item, f"{name}[{shown(key)}]") for key, item in value.items()}
        return MappingProxyType(found)

    return read_mapping


def tuple_of(read: Reader[Item]) -> Reader[tuple[Item, ...]]:
    """A reader of a list whose items are all of one kind."""

    def read_tuple(value: object, name: str) -> tuple[Item, ...]:
        if not isinstance(value, list):
            raise ValueError(f"Expected {name} to be a list, got {shown(value)}.")
        return tuple(read(item, f"{name}[{index}]") for index, item in enumerate(value))

    return read_tuple
