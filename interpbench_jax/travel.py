"""Frozen dataclasses that move between processes, pickled by their fields alone.

Values derived from the fields are computed again; read-only mappings, which Python does not
pickle, are packed.
"""

from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import NamedTuple


class Travels:
    """A frozen dataclass that can be pickled and copied."""

    def __getstate__(self) -> dict[str, object]:
        assert is_dataclass(self)
        return {each.name: _pack(getattr(self, each.name)) for each in fields(self)}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, _unpack(value))


class _Packed(NamedTuple):
    """A read-only mapping in its pickled form."""

    items: dict[object, object]


def _pack(value: object) -> object:
    if isinstance(value, MappingProxyType):
        return _Packed({key: _pack(item) for key, item in value.items()})
    return value


def _unpack(value: object) -> object:
    if isinstance(value, _Packed):
        return MappingProxyType({key: _unpack(item) for key, item in value.items.items()})
    return value
