"""The versions of Python and of the libraries that a model was trained with."""

import platform
from importlib.metadata import version

from interpbench_jax.version import __version__

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


def library_versions() -> dict[str, str]:
    """The version of Python and of every library that the weights depend on."""
    ours = {"python": platform.python_version(), "interpbench-jax": __version__}
    return ours | {name: version(name) for name in _LIBRARIES}
