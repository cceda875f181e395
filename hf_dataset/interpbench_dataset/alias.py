"""`datasets.load_dataset("interpbench", ...)` without a network: the name stands for our folder.

Neither `datasets` nor anything else that is heavy is imported before something imports `datasets`.
"""

import sys
from collections.abc import Callable, Sequence
from functools import cache, wraps
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from datasets.load import DatasetModule

    Factory = Callable[..., DatasetModule]

NAME = "interpbench"
_HOME = "datasets.load"
_FACTORY = "dataset_module_factory"
_MARK = "resolves_interpbench"


def install() -> None:
    """Make the name stand for the packaged folder in every entry point of `datasets`.

    If `datasets` is already imported, this takes effect at once, otherwise when it is imported.
    A second call changes nothing. Every other name is passed to `datasets` unchanged.

    The name takes precedence over a folder called `interpbench` in the working directory, which
    `"./interpbench"` opens; `datasets.load_dataset` then warns that there are two.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for module in _holders():
        factory = getattr(module, _FACTORY)
        if not hasattr(factory, _MARK):
            setattr(module, _FACTORY, _resolving(factory))


def uninstall() -> None:
    """Undo `install`: the name refers to the Hub again; a second call changes nothing."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    for module in _holders():
        factory = getattr(module, _FACTORY)
        if hasattr(factory, _MARK):
            setattr(module, _FACTORY, factory.__wrapped__)


def _holders() -> list[ModuleType]:
    """The modules of `datasets` that have the factory: its home, and those that import it."""
    return [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("datasets.") and _FACTORY in getattr(module, "__dict__", ())
    ]


class _Finder:
    """Finds the factory's home through the other finders, and patches it once it has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> "ModuleSpec | None":
        if name != _HOME:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """Runs a module with its own loader, which it restores, and then replaces the factory."""

    def __init__(self, loader: object) -> None:
        self.loader = loader

    def create_module(self, spec: "ModuleSpec") -> ModuleType | None:
        return self.loader.create_module(spec)  # pyright: ignore[reportAttributeAccessIssue]

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader  # pyright: ignore[reportAttributeAccessIssue]
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader  # pyright: ignore[reportAttributeAccessIssue]
        self.loader.exec_module(module)  # pyright: ignore[reportAttributeAccessIssue]
        factory = getattr(module, _FACTORY, None)
        if factory is None:
            _warn(
                f"This version of datasets has no {_HOME}.{_FACTORY}, so load_dataset({NAME!r}) "
                "asks the Hub; use interpbench_jax.load_dataset."
            )
        else:
            setattr(module, _FACTORY, _resolving(factory))


@cache
def _resolving(original: "Factory") -> "Factory":
    """Return the factory with `NAME` for the packaged folder; the same one for one original."""

    @wraps(original)
    def factory(path: str, *args: object, **options: object) -> "DatasetModule":
        if path != NAME:
            return original(path, *args, **options)
        from interpbench_dataset.loading import (
            card_errors_explained,
            check_digests,
            packaged_folder,
        )

        if options.get("revision") is not None:
            raise ValueError(
                f"Expected no revision for {NAME!r}, got {options['revision']!r}: the data are "
                "those of the installed interpbench-jax. Install another version of it, or load "
                "from a repository on the Hub."
            )
        folder = packaged_folder()
        _warn_of_another(str(folder))
        with card_errors_explained(folder):
            module = original(str(folder), *args, **options)
            check_digests(module, folder)
        return module

    setattr(factory, _MARK, True)
    return factory


def _warn_of_another(folder: str) -> None:
    import os

    if os.path.isdir(NAME) and not os.path.samefile(NAME, folder):
        _warn(
            f"{NAME!r} is the dataset that interpbench-jax carries, not the folder "
            f"{os.path.abspath(NAME)}; to open the folder, write './{NAME}'."
        )


def _warn(message: str) -> None:
    import warnings

    warnings.warn(message, UserWarning, stacklevel=2)
