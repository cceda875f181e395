"""The devices of a sweep: a single one, or a mesh."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

from interpbench_jax.engine.chips import Chip, Effort, chip_of
from interpbench_jax.engine.programs import Lowered, lower

EDITS, BATCH = "edits", "batch"
AXES = (EDITS, BATCH)


def sweep_mesh(devices: int | None = None, *, edits: int | None = None) -> Mesh:
    """A mesh for sweeps: the devices of all processes, arranged as `edits` times `batch`.

    Args:
        devices: the number of devices to use; the default is all.
        edits: the number of shares into which the edits are split; the inputs are split into
            `devices / edits` shares. By default, the edits are split among all devices and every
            device runs all inputs, so that only the clean run is computed more than once.

    Raises:
        ValueError: if there are fewer devices, or `edits` does not divide their number.
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
        mesh: the mesh; None for the default device.
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
                f"{jax.process_index()}; `sweep_mesh()` uses all devices."
            )

    @property
    def platform(self) -> str:
        """The platform of the devices, which are all of one kind."""
        return jax.default_backend() if self.mesh is None else self.mesh.devices.flat[0].platform

    @property
    def chip(self) -> Chip:
        """The kind of the devices."""
        return chip_of(self.platform)

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
        """Whether every device of the sweep belongs to this process."""
        return self.mesh is None or not self.mesh.is_multi_process

    @property
    def n_processes(self) -> int:
        """How many processes share the work."""
        return 1 if self.is_whole else jax.process_count()

    def over_processes(self, sums: Float[np.ndarray, "*sums"]) -> Float[np.ndarray, "*sums"]:
        """The sum of an array over all processes, which communicate only here."""
        if self.is_whole:
            return sums
        from jax.experimental.multihost_utils import process_allgather

        # Sent as pairs of 32-bit integers, because JAX would round float64 to float32.
        parts = np.asarray(process_allgather(np.ascontiguousarray(sums).view(np.uint32)))
        return parts.view(np.float64).sum(axis=0)

    def put(self, tree: Any, spec: Callable[[Any], PartitionSpec]) -> Any:
        """Put arrays from the host on the devices, each sharded by its spec."""
        if self.mesh is None:
            # Programs accept tokens and edits (int32) from the host directly, which is faster.
            is_ready = all(
                isinstance(leaf, jax.Array) or leaf.dtype == np.int32
                for leaf in jax.tree.leaves(tree)
            )
            return tree if is_ready else jax.device_put(tree)
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
        effort: Effort = "quick",
    ) -> Lowered:
        """Lower a function for arguments of these shapes, for `compile_all`.

        Args:
            function: a function that takes the static arguments, then arrays.
            static: the static arguments, which are hashable.
            specs: a function that maps the arguments to their specs and those of the result; used
                only on a mesh.
            arguments: pytrees of arrays.
            effort: how much effort the compiler makes.
        """
        if self.mesh is None:
            return lower(function, static, *arguments, effort=effort)
        return lower(
            function,
            static,
            *arguments,
            where=self.mesh,
            platform=self.platform,
            effort=effort,
            jit=partial(self._shared, specs, arguments),
        )

    def _shared(
        self,
        specs: Callable[[tuple[Any, ...]], tuple[Any, Any]],
        arguments: tuple[Any, ...],
        function: Callable[..., Any],
    ) -> jax.stages.Wrapped:
        """The function, split over all devices of the mesh."""
        assert self.mesh is not None
        in_specs, out_specs = specs(arguments)
        # No check of replication (VMA): results are meant to differ between devices.
        shared = jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )
        mesh = self.mesh
        shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), in_specs)
        return jax.jit(shared, in_shardings=shardings)


def whole(array: Any) -> PartitionSpec:
    """The spec of an array that every device has in full."""
    return PartitionSpec()


def by_first(axis: str) -> Callable[[Any], PartitionSpec]:
    """The spec of an array whose first axis is split."""
    return lambda array: PartitionSpec(axis)


def by_last_but_one(array: Any) -> PartitionSpec:
    """The spec of an array whose last axis but one counts inputs and is split."""
    return PartitionSpec(*[None] * (array.ndim - 2), BATCH)


def by_last(array: Any) -> PartitionSpec:
    """The spec of an array whose last axis counts inputs: it is split unless its size is 1."""
    if array.shape[-1] == 1:
        return PartitionSpec()
    return PartitionSpec(*[None] * (array.ndim - 1), BATCH)
