"""Compile this library's programs for GPUs and TPUs, none of which has to be here.

    python -m benchmarks.accelerators [--targets h100,v5e-2x2] [--workloads sweeps] [--json FILE]

For each program and target: whether it compiles and how long that takes, its memory, operations and
bytes (by XLA's account and by ours), what its text says of kernels, loops, branches, collectives
and padding and, for TPUs, the compiler's estimate of time. Times of runs need a device:
`python -m benchmarks.accelerators.measure`.
"""

import os
import sys


def start() -> int:
    """Prepare the process, before JAX and the package are imported, and run the command."""
    # Programs are planned on this machine's CPU, whatever else it has.
    os.environ["JAX_PLATFORMS"] = "cpu"
    # Otherwise the TPU's compiler asks the network what machine this is.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    from benchmarks.accelerators.recorded import watch_jit

    watch_jit()
    from benchmarks.accelerators.command import main

    return main((__doc__ or "").partition("\n")[0])


if __name__ == "__main__":
    sys.exit(start())
