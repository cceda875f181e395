"""Which versions trained a model."""

import platform
from importlib.metadata import version

_LIBRARIES = ("interpbench-jax", "jax", "jaxlib", "flax", "optax", "numpy")


def library_versions() -> dict[str, str]:
    """The version of Python and of every library that the weights depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
