"""Time a case's high-level model against the plain Python evaluation of its program.

Usage: `python benchmarks/high_level.py [--case 18] [--inputs 100000] [--plain-inputs 5000]`

Prints the cold seconds (first call, including compilation), the warm seconds (best of several
calls), inputs per second, and the speed-up over the plain evaluation, which is timed on fewer
inputs and scaled up.
"""

import argparse
import platform
import time
from collections.abc import Callable

import jax
import numpy as np

from interpbench_jax.cases import RASP_CASES, RaspTask
from interpbench_jax.rasp.plain import read


def main() -> None:
    """Read the arguments and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="18", choices=list(RASP_CASES))
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--plain-inputs", type=int, default=5_000)
    arguments = parser.parse_args()
    task = RASP_CASES[arguments.case]
    rng = np.random.default_rng(0)
    inputs = task.space.draw(arguments.inputs, rng, None, is_variable=False)
    on_device = jax.device_put(inputs)
    high_level = task.high_level

    cold = _seconds(lambda: jax.block_until_ready(high_level(on_device)))
    warm = min(_seconds(lambda: jax.block_until_ready(high_level(on_device))) for _ in range(5))
    few = inputs[: arguments.plain_inputs]
    plain = _seconds(lambda: _read_all(task, few)) * len(inputs) / len(few)

    device = jax.devices()[0]
    print(f"case {task.case_id}, {len(inputs):,} inputs of {inputs.shape[1]} positions")
    print(f"device: {device.platform} {device.device_kind}, {platform.machine()}")
    print(f"compiled model, cold: {cold:.3f} s")
    print(f"compiled model, warm: {warm:.3f} s ({len(inputs) / warm:,.0f} inputs/s)")
    print(f"plain evaluation: {plain:.2f} s (scaled up from {len(few):,} inputs)")
    print(f"ratio: {plain / warm:.0f} x")


def _read_all(task: RaspTask, inputs: np.ndarray) -> None:
    values = {task.token_ids[str(token)]: token for token in task.vocab}
    for row in inputs[:, 1:].tolist():
        read(task.program, [values[token_id] for token_id in row], is_causal=task.is_causal)


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
