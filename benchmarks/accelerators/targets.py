"""The devices that programs are compiled for; none of them has to be here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from interpbench_jax.sweeps.mesh import AXES

# An H100 (SXM) as XLA describes GPUs: NVIDIA's figures, and the versions of CUDA to compile for.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  device_memory_size: 84942979072
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
}
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
runtime_version { major: 12 minor: 9 patch: 0 }
dnn_version_info { major: 9 minor: 8 patch: 0 }
"""


@dataclass(frozen=True)
class Target:
    """Some devices of one kind.

    Attributes:
        name: the name of the target.
        platform: the platform, as JAX calls it: what `jax.default_backend()` returns there.
        topology: how the devices are connected, as XLA writes it.
        n_devices: the number of devices.
    """

    name: str
    platform: str
    topology: str
    n_devices: int

    def devices(self) -> list[jax.Device]:  # pyright: ignore[reportInvalidTypeForm]
        """The devices, which can be compiled for but not run on.

        Raises:
            RuntimeError: if the compiler for them is not installed.
        """
        if self.platform == "cpu":
            return jax.devices("cpu")[: self.n_devices]
        try:
            if self.platform == "tpu":
                found = topologies.get_topology_desc(self.topology, "tpu")
            else:
                config = {"topology": self.topology, "target_config": _H100}
                found = topologies.get_topology_desc("", "cuda", **config)
        except (RuntimeError, ValueError) as error:
            raise RuntimeError(
                f"Expected the compiler for {self.name} to be installed, found none ({error}); "
                "`make accelerators` installs it."
            ) from error
        return list(found.devices)

    def mesh(self) -> Mesh:
        """The devices as a sweep uses them: each takes a share of the edits."""
        return Mesh(np.asarray(self.devices()).reshape(self.n_devices, 1), AXES)


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target("cpu", "cpu", "", 1),
            Target("h100", "gpu", "1x1x1", 1),
            Target("h100-x8", "gpu", "1x1x8", 8),
            Target("v5e-2x2", "tpu", "v5e:2x2", 4),
            Target("v5e-4x4", "tpu", "v5e:4x4", 16),
        )
    }
)


@contextmanager
def planned_for(target: Target) -> Iterator[None]:
    """Plan as on a target: whoever asks JAX for its backend is told the target's."""
    real = jax.default_backend
    jax.default_backend = lambda: target.platform
    try:
        yield
    finally:
        jax.default_backend = real
