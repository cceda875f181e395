"""Where a sweep runs: on one device, or on a mesh of them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

from interpbench_jax.engine.programs import Lowered, lower

EDITS, BATCH = "edits", "batch"
AXES = (EDITS, BATCH)


def sweep_mesh(devices: int | None = None, *, edits: int | None = None) -> Mesh:
    """A mesh for sweeps: the devices, of all processes, as `edits` times `batch`.

    Args:
        devices: how many to use; by default all.
        edits: how many shares of the edits; the inputs are cut in `devices / edits` shares. By
            default all devices share the edits, and every one sees all inputs: nothing is
            computed twice but the clean run.

    Raises:
        ValueError: if there are not so many devices, or `edits` does not divide their number.
    """
    available = jax.devices()
    n = len(available) if devices is None else devices
    if not 1 <= n <= len(available):
        raise ValueError(f"Expected 1 to {len(available)} devices, got {n}.")
    shares = n if edits is None else edits
    if shares < 1 or n % shares:
        raise ValueError(f"Expected a number of edit shares that divides {n} devices, got {edits}.")
    return Mesh(np.asarray(available[:n]).reshape(shares, n // shares), AXES)


@dataclass(frozen=True)
class Placement:
    """The devices of a sweep: one, or a mesh.

    Attributes:
        mesh: None for the default device.
    """

    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        if self.mesh is not None and self.mesh.axis_names != AXES:
            raise ValueError(
                f"Expected a mesh with the axes {AXES}, got {self.mesh.axis_names}; "
                "`sweep_mesh` makes one."
            )
        if self.mesh is not None and not self.mesh.local_devices:
            raise ValueError(
                "Expected a mesh with devices of every process that sweeps, got none of process "
                f"{jax.process_index()}; `sweep_mesh()` takes all devices."
            )

    @property
    def edit_shares(self) -> int:
        """How many shares of the edits run at once."""
        return 1 if self.mesh is None else self.mesh.shape[EDITS]

    @property
    def batch_shares(self) -> int:
        """How many shares of the inputs run at once."""
        return 1 if self.mesh is None else self.mesh.shape[BATCH]

    @property
    def is_whole(self) -> bool:
        """Whether this process holds every device."""
        return self.mesh is None or not self.mesh.is_multi_process

    @property
    def n_processes(self) -> int:
        """How many processes share the work."""
        return 1 if self.is_whole else jax.process_count()

    def over_processes(self, sums: Float[np.ndarray, "*sums"]) -> Float[np.ndarray, "*sums"]:
        """The sum over all processes of what each has: the one time that they communicate."""
        if self.is_whole:
            return sums
        from jax.experimental.multihost_utils import process_allgather

        # As pairs of 32 bits, because JAX would round 64.
        parts = np.asarray(process_allgather(np.ascontiguousarray(sums).view(np.uint32)))
        return parts.view(np.float64).sum(axis=0)

    def put(self, tree: Any, spec: Callable[[Any], PartitionSpec]) -> Any:
        """Arrays of the host on the devices, each as its spec says."""
        if self.mesh is None:
            # A program takes these from the host as they are, and faster: tokens, edits.
            leaves = jax.tree.leaves(tree)
            on_host = all(
                isinstance(leaf, np.ndarray) and leaf.dtype == np.int32 for leaf in leaves
            )
            return tree if on_host else jax.device_put(tree)
        return jax.tree.map(lambda array: self._put(np.asarray(array), spec(array)), tree)

    def _put(self, array: np.ndarray, spec: PartitionSpec) -> jax.Array:
        assert self.mesh is not None
        array = np.asarray(array, jax.dtypes.canonicalize_dtype(array.dtype))
        sharding = NamedSharding(self.mesh, spec)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    def lower(
        self,
        function: Callable[..., Any],
        static: tuple[Hashable, ...],
        specs: Callable[[tuple[Any, ...]], tuple[Any, Any]],
        *arguments: Any,
    ) -> Lowered:
        """A function for arguments of these shapes, ready for `compile_all`.

        Args:
            function: takes the static arguments, then arrays.
            static: hashable arguments.
            specs: from the arguments to their specs and the result's, on a mesh.
            arguments: pytrees of arrays.
        """
        if self.mesh is None:
            return lower(function, static, *arguments)
        shared = partial(self._shared, specs, arguments)
        return lower(function, static, *arguments, where=self.mesh, jit=shared)

    def _shared(
        self,
        specs: Callable[[tuple[Any, ...]], tuple[Any, Any]],
        arguments: tuple[Any, ...],
        function: Callable[..., Any],
    ) -> jax.stages.Wrapped:
        """The function over all devices of the mesh."""
        assert self.mesh is not None
        in_specs, out_specs = specs(arguments)
        # What is checked is whether results differ between devices, which is what we want.
        shared = jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )
        mesh = self.mesh
        shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), in_specs)
        return jax.jit(shared, in_shardings=shardings)


def whole(array: Any) -> PartitionSpec:
    """Every device has all of an array."""
    return PartitionSpec()


def by_first(axis: str) -> Callable[[Any], PartitionSpec]:
    """The first axis is cut."""
    return lambda array: PartitionSpec(axis)


def by_last_but_one(array: Any) -> PartitionSpec:
    """The last axis but one counts inputs and is cut."""
    return PartitionSpec(*[None] * (array.ndim - 2), BATCH)


def by_last(array: Any) -> PartitionSpec:
    """The last axis counts inputs and is cut, unless it is 1, which all share."""
    if array.shape[-1] == 1:
        return PartitionSpec()
    return PartitionSpec(*[None] * (array.ndim - 1), BATCH)
