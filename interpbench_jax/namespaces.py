"""Code that computes with NumPy on NumPy arrays, and with JAX on all others."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Result = TypeVar("Result")


def namespace(*arrays: object) -> Any:
    """`numpy` if all arrays are NumPy's, else `jax.numpy`; None counts as neither.

    NumPy has nothing to compile, which takes longer than a small computation itself.
    """
    given = [array for array in arrays if array is not None]
    return np if all(isinstance(array, np.ndarray) for array in given) else jnp


def jit_unless_numpy(function: Callable[..., Result]) -> Callable[..., Result]:
    """Compile a function of a static argument and of arrays, except where all of these are NumPy's.

    Args:
        function: `(static, *arrays)`, whose arrays may be trees.
    """
    compiled = jax.jit(function, static_argnums=0)

    @wraps(function)
    def run(static: object, *arrays: Any) -> Result:
        is_numpy = namespace(*jax.tree.leaves(arrays)) is np
        return (function if is_numpy else compiled)(static, *arrays)

    return run
