"""The release of InterpBench to which a case belongs."""

from collections.abc import Mapping
from types import MappingProxyType

DEFAULT_RELEASE = "1.0.0"
# The cases of other releases.
_RELEASES: Mapping[str, str] = MappingProxyType({})


def release_of(case: str) -> str:
    """Return the name of the release to which a case belongs, from the case's id."""
    return _RELEASES.get(case, DEFAULT_RELEASE)
