"""User-defined methods, named as `package.module:function`."""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from interpbench_jax.discovery import METHODS, Method, Scores
from interpbench_jax.storage import digest_file


def find_method(name: str) -> Method:
    """Return a method of the table by its name, or a user-defined one from a module.

    The module is looked up in the working directory, then on Python's path. Importing it runs it.

    Args:
        name: one of `METHODS`; or `package.module:function`, where the function is
            `(model, data, metric, settings, key) -> Scores`, or a `Method` that holds one with
            its settings.

    Raises:
        ValueError: if there is no such method, or the name is that of something else.
    """
    if ":" not in name:
        if name not in METHODS:
            raise ValueError(
                f"Expected the method to be one of {', '.join(METHODS)}, or a custom one as "
                f"package.module:function; got {name!r}."
            )
        return METHODS[name]
    module_name, _, attribute = name.partition(":")
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        found = getattr(import_module(module_name), attribute, None)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"Expected a module that can be imported for the method {name!r}, got {error}; name it "
            "as package.module:function, in the working directory or installed."
        ) from error
    finally:
        sys.path.remove(folder)
    if isinstance(found, Method):
        return found
    if not callable(found) or inspect.isclass(found):
        raise ValueError(
            f"Expected {attribute!r} of {module_name} to be a function (model, data, metric, "
            f"settings, key) -> Scores, or a Method, got {found!r:.80}."
        )
    return Method(cast("Callable[..., Scores]", found), None)


def digest_code(method: Method) -> str | None:
    """Return the SHA-256 of a user-defined method's file; None for ours, or if there is no file.

    It keeps results of older code from being reused after the code has changed.
    """
    run = inspect.unwrap(method.run)
    if getattr(run, "__module__", "").split(".")[0] == "interpbench_jax":
        return None
    try:
        path = inspect.getsourcefile(run)
    except TypeError:
        return None
    if path is None or not Path(path).is_file():
        return None
    return digest_file(Path(path))
