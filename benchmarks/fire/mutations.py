"""Damage to bytes, as from a bad disk, and to JSON values, as from a careless or hostile writer."""

import json
import random
from collections.abc import Callable
from typing import Any

_WORST: tuple[object, ...] = (
    None,
    True,
    -1,
    2**63,
    10**400,
    1e308,
    "",
    "\x1b[31m[/]",
    "x" * 5_000,
    "\ud800",
    [],
    {},
    [[]],
)
# Texts that `json.dumps` does not write by default.
_NOT_JSON = ("NaN", "Infinity", "1e400", "[" * 3_000, '{"a": 1, "a": 2}')


def damage(data: bytes, rng: random.Random) -> bytes:
    """A damaged version of a file's bytes: one to three edits, or an odd value in its JSON."""
    if rng.random() < 0.5:
        changed = _damage_json(data, rng)
        if changed is not None:
            return changed
    found = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        if found:
            rng.choice(_WOUNDS)(found, rng)
    return bytes(found)


def _damage_json(data: bytes, rng: random.Random) -> bytes | None:
    """The file with a change in its leading JSON; None if it does not start with JSON."""
    # Weights start with the length of a JSON header; a log has one JSON object per line.
    start = 8 if data[8:9] == b"{" else 0
    end = data.find(b"\n", start) if data[start : start + 2] == b'{"' else len(data)
    for stop in {len(data), end if end > 0 else len(data)}:
        try:
            value = json.loads(data[start:stop])
        except (ValueError, RecursionError):
            continue
        text = _change(value, rng)
        # For weights, half of the time the old header's length stays in front of the new header.
        head = data[:start]
        if start and rng.random() < 0.5:
            head = len(text).to_bytes(8, "little")
        return head + text + data[stop:]
    return None


def _change(value: Any, rng: random.Random) -> bytes:
    places = [(), *_places(value)]
    *path, last = rng.choice(places) or (None,)
    if last is None:
        return json.dumps(rng.choice(_WORST)).encode()
    inner = value
    for key in path:
        inner = inner[key]
    action = rng.random()
    if action < 0.15:
        del inner[last]
    elif action < 0.25 and isinstance(inner, dict):
        inner[rng.choice(["more", "x" * 5_000, "__class__"])] = rng.choice(_WORST)
    elif action < 0.35 and isinstance(inner, list):
        inner += [inner[last]] * rng.choice([1, 2, 500])
    elif action < 0.5:
        inner[last] = "@@"
        raw = rng.choice(_NOT_JSON)
        return json.dumps(value).replace('"@@"', raw).encode()
    else:
        inner[last] = rng.choice(_WORST)
    return json.dumps(value).encode()


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every nested value, but only for the first eight items of each list."""
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(min(len(value), 8)))
    else:
        return []
    return [place for key in keys for place in ((*path, key), *_places(value[key], (*path, key)))]


def _some_slice(data: bytearray, rng: random.Random) -> slice:
    start = rng.randrange(len(data))
    return slice(start, start + rng.choice([1, 2, 4, 8, 64]))


def _set(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _insert(data: bytearray, rng: random.Random) -> None:
    data.insert(rng.randrange(len(data) + 1), rng.randrange(256))


def _remove(data: bytearray, rng: random.Random) -> None:
    del data[_some_slice(data, rng)]


def _copy(data: bytearray, rng: random.Random) -> None:
    data[_some_slice(data, rng)] = data[_some_slice(data, rng)]


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _large_number(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    size = rng.choice([4, 8])
    number = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1])
    data[start : start + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")


def _zeros(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    stop = min(len(data), start + rng.choice([16, 512, 4096]))
    data[start:stop] = bytes(stop - start)


_WOUNDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _set,
    _flip,
    _insert,
    _remove,
    _copy,
    _cut,
    _large_number,
    _zeros,
)
