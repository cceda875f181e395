"""Where a sweep's programs run, and the programs that have been compiled."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

EDITS, BATCH = "edits", "batch"
AXES = (EDITS, BATCH)

_compiled: dict[Hashable, "Program"] = {}
_n_compiled = 0
_compiling = threading.Lock()
_MOST_COMPILED = 256
_CPU_OPTIONS = {"xla_cpu_use_fusion_emitters": False}


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


class Program(NamedTuple):
    """A compiled program.

    Attributes:
        run: takes arrays of the shapes that it was compiled for.
        result: the shapes of what it gives.
        argument_bytes: memory of its arguments on one device, as XLA accounts for it.
        result_bytes: memory of what it gives.
        working_bytes: memory that it takes beside them while it runs.
    """

    run: jax.stages.Compiled
    result: Any
    argument_bytes: int
    result_bytes: int
    working_bytes: int


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
    ) -> "Lowered":
        """A function for arguments of these shapes, ready for `compile_all`.

        Args:
            function: takes the static arguments, then arrays.
            static: hashable arguments.
            specs: from the arguments to their specs and the result's, on a mesh.
            arguments: pytrees of arrays.
        """
        leaves, structure = jax.tree.flatten(arguments)
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        backend = jax.default_backend()
        exact = jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
        key = (function, static, structure, shapes, self.mesh, backend, exact)
        with _compiling:
            program = _compiled.get(key)
        if program is not None:
            return Lowered(key, program.result, program, None)
        lowered = self._lower(partial(function, *static), specs, arguments)
        return Lowered(key, lowered.out_info, None, lowered)

    def _lower(
        self,
        function: Callable[..., Any],
        specs: Callable[[tuple[Any, ...]], tuple[Any, Any]],
        arguments: tuple[Any, ...],
    ) -> jax.stages.Lowered:
        if self.mesh is None:
            return jax.jit(function).lower(*arguments)
        in_specs, out_specs = specs(arguments)
        # What is checked is whether results differ between devices, which is what we want.
        shared = jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )
        mesh = self.mesh
        shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), in_specs)
        return jax.jit(shared, in_shardings=shardings).lower(*arguments)


class Lowered(NamedTuple):
    """A program that is compiled, or can be.

    Attributes:
        key: what it is kept under.
        result: the shapes of what it gives.
        program: the program, if it has been compiled before.
        lowered: what to compile, if not.
    """

    key: Hashable
    result: Any
    program: Program | None
    lowered: jax.stages.Lowered | None


def compile_all(*wanted: Lowered) -> list[Program]:
    """The programs, those that are new compiled side by side; kept for next time."""
    missing = [one for one in wanted if one.program is None]
    if not missing:
        return [one.program for one in wanted if one.program is not None]
    with ThreadPoolExecutor(len(missing)) as pool:
        new = dict(zip((one.key for one in missing), pool.map(_compile, missing), strict=True))
    with _compiling:
        while len(_compiled) + len(new) > _MOST_COMPILED:
            _compiled.pop(next(iter(_compiled)))
        _compiled.update(new)
        global _n_compiled
        _n_compiled += len(new)
    return [new[one.key] if one.program is None else one.program for one in wanted]


def _compile(wanted: Lowered) -> Program:
    lowered = wanted.lowered
    assert lowered is not None
    compiled = _compile_quickly(lowered) if jax.default_backend() == "cpu" else lowered.compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    return Program(
        compiled,
        wanted.result,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.temp_size_in_bytes,
    )


def _compile_quickly(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """With XLA's options for CPUs under which these programs compile in half the time.

    They run a little faster, too. Options come and go with XLA's releases, and it is none of
    ours to fail over one. Where JAX is told to leave optimizations out, that holds here too.
    """
    few = jax.config.read("jax_disable_most_optimizations")
    level: dict[str, Any] = {} if few else {"xla_backend_optimization_level": 1}
    for options in (_CPU_OPTIONS | level, level):
        with suppress(jax.errors.JaxRuntimeError, ValueError):
            return lowered.compile(compiler_options=options)
    return lowered.compile()


def n_compiled() -> int:
    """How many programs have been compiled so far, whether or not they are still kept."""
    return _n_compiled


def forget_programs() -> None:
    """Free the memory of all compiled programs; what is needed again is compiled again."""
    with _compiling:
        _compiled.clear()


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
