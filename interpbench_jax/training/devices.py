"""Stacked models, spread over the devices of this process."""

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Spread = TypeVar("Spread")
Shared = TypeVar("Shared")
Given = TypeVar("Given")
Placed = TypeVar("Placed")

_AXIS = "models"
_OWN = PartitionSpec(_AXIS)


def n_devices_for(n_models: int) -> int:
    """The number of devices that a stack uses: the most that can take equal shares."""
    available = jax.local_device_count()
    return max(n for n in range(1, min(available, n_models) + 1) if n_models % n == 0)


def over_models(
    function: Callable[[Spread, Shared], Given], n_models: int
) -> Callable[[Spread, Shared], Given]:
    """Turn a function of one model into one of a stack, whose models are spread over the devices.

    On a CPU, each device runs its share of the models one after another: a model of this size
    keeps a core busy, and stacking the arrays would only push them out of the cache. Elsewhere a
    device runs its share at once, with `jax.vmap`. The devices do not communicate.

    Args:
        function: maps one model's arrays, and those that all models share, to one model's result.
        n_models: number of models in the stack, which is the length of the first axis of the
            first argument and of the result.
    """

    def run_share(spread: Spread, shared: Shared) -> Given:
        def run_one(own: Spread) -> Given:
            return function(own, shared)

        if jax.default_backend() == "cpu":
            return jax.lax.map(run_one, spread)
        return jax.vmap(run_one)(spread)

    mesh = _mesh(n_models)
    if mesh is None:
        return run_share
    # The check would reject results that differ between devices, which is what ours must do.
    return jax.shard_map(
        run_share, mesh=mesh, in_specs=(_OWN, PartitionSpec()), out_specs=_OWN, check_vma=False
    )


def place_models(arrays: Placed, n_models: int) -> Placed:
    """Place a stack's arrays on the devices where `over_models` leaves its results.

    A program would be compiled again for arguments that are placed elsewhere.

    Args:
        arrays: a pytree; the first axis of each array is that of the models.
        n_models: number of models in the stack.
    """
    mesh = _mesh(n_models)
    return arrays if mesh is None else jax.device_put(arrays, NamedSharding(mesh, _OWN))


def _mesh(n_models: int) -> Mesh | None:
    """The mesh of the devices that a stack uses; None if it uses only one."""
    n = n_devices_for(n_models)
    return None if n == 1 else Mesh(np.asarray(jax.local_devices()[:n]), (_AXIS,))
