"""The ids of random tasks, which say how to draw them: `generated-7-hops=2-leak=0.03..0.3`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from interpbench_jax.cases.generated.dials import Dials
from interpbench_jax.texts import shown

PREFIX = "generated-"
_SHAPE = re.compile(rf"{PREFIX}(?P<seed>\d{{1,80}})(?P<dials>(-[a-z_]+=[^-=]+)*)")
_EXAMPLE = f"{PREFIX}7-hops=2"


def generated_id(seed: int, dials: Dials) -> str:
    """The id of the task of a seed and dials; dials at their defaults are left out."""
    parts = [f"-{name}={_as_text(value)}" for name, value in dials.changed.items()]
    return f"{PREFIX}{seed}{''.join(parts)}"


def read_generated_id(case_id: str) -> tuple[int, Dials]:
    """The seed and the dials that an id says, in whatever order it has the dials.

    Raises:
        ValueError: if it is no such id, or a setting is out of its range.
    """
    found = _SHAPE.fullmatch(case_id)
    if found is None:
        raise ValueError(f"Expected a seed and dials, as in {_EXAMPLE!r}, got {shown(case_id)}.")
    texts = [part.split("=") for part in found["dials"].split("-")[1:]]
    names = [name for name, _ in texts]
    known = tuple(each.name for each in fields(Dials))
    if len(set(names)) < len(names) or not set(names) <= set(known):
        raise ValueError(
            f"Expected each dial at most once, of {', '.join(known)}; got {shown(case_id)}."
        )
    settings = {name: _read(name, text) for name, text in texts}
    return int(found["seed"]), Dials(**settings)


def _as_text(value: object) -> str:
    return "..".join(map(repr, value)) if isinstance(value, tuple) else str(value)


def _read(name: str, text: str) -> Any:
    read, expected = _READERS.get(name, (int, "a whole number"))
    try:
        return read(text)
    except (KeyError, ValueError):
        raise ValueError(f"Expected {name} to be {expected}, got {shown(text)}.") from None


def _read_flag(text: str) -> bool:
    return {"True": True, "False": False}[text]


def _read_band(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split("..")))


_READERS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "gate": (str, "a name"),
    "scattered": (_read_flag, "True or False"),
    "leak": (_read_band, "two shares, as in 0.03..0.3"),
}
