"""The library's public names, and those that the API reference lacks."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from mkdocstrings import Inventory

import interpbench_jax as ib

# What `import interpbench_jax as ib` offers, and modules that users import from by name.
MODULES = (
    "interpbench_jax.bench",
    "interpbench_jax.cases",
    "interpbench_jax.certificates",
    "interpbench_jax.discovery",
    "interpbench_jax.metrics",
    "interpbench_jax.pictures",
    "interpbench_jax.rasp",
    "interpbench_jax.scores",
    "interpbench_jax.sites",
    "interpbench_jax.statistics",
    "interpbench_jax.training",
)


def public_names() -> tuple[str, ...]:
    """Return every public name with its module, such as `interpbench_jax.scores.roc_auc`."""
    top = [
        f"{ib.__name__}.{name}"
        for name in ib.__all__
        if name != "__version__" and not isinstance(getattr(ib, name), ModuleType)
    ]
    return (*top, *(f"{module}.{name}" for module in MODULES for name in _names_of(module)))


def undocumented(inventory: Path) -> tuple[str, ...]:
    """Return the public names that a site's inventory of documented objects does not have."""
    with inventory.open("rb") as file:
        documented = Inventory.parse_sphinx(file, domain_filter=("py",))
    return tuple(name for name in public_names() if name not in documented)


def _names_of(name: str) -> list[str]:
    module = import_module(name)
    is_package = hasattr(module, "__path__")
    return [
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and not isinstance(value, ModuleType)
        and _is_defined_in(value, name, is_package)
    ]


def _is_defined_in(value: object, module: str, is_package: bool) -> bool:
    """Whether a value belongs to a module, or, for a package, to this library."""
    home = getattr(value, "__module__", None)
    if not isinstance(home, str):
        return True  # A constant: nothing says where it comes from, and nobody re-exports those.
    return home.startswith("interpbench") if is_package else home == module
