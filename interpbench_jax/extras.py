"""Optional dependencies: a failed import names the extra that installs the package.

Importing this module imports nothing beyond the standard library.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Explain an import inside the block that fails because an optional package is missing.

    Args:
        extra: the extra of interpbench-jax that installs the package, such as `"hub"`.
        purpose: what needs the package, as the start of a sentence, such as `"Saving a sweep"`.

    Raises:
        ImportError: if an import in the block fails; `name` is the missing module's name.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "a package").partition(".")[0]
        raise ImportError(
            f"{purpose} needs {package}, which is not installed or cannot be imported ({error}). "
            f'Install it with: pip install "interpbench-jax[{extra}]"',
            name=error.name,
        ) from error
