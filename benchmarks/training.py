"""Measure seconds per epoch of SIIT training, ours and a TransformerLens loop's.

    python benchmarks/training.py [--cases 11 13] [--seeds 1 8] [--python VENV/bin/python] [--json]

An epoch is release 1.0.0's: 96,000 training inputs (all inputs where a task has fewer), batches of
256, three Adam steps each (interchange, strict, behavior), then validation on 24,000 pairs over
every aligned variable and every node outside the circuit. Cold is the first epoch, including
compilation; warm is the best of the later ones, and the worst is shown too.

With `--python`, an interpreter that has torch and `transformer-lens<3` runs the same three steps
with TransformerLens's hooks, one node per batch, on `--peer-threads` threads. It runs
`--peer-batches` batches, scaled up to an epoch. Its runs alternate with ours, so that a drift of
the machine's speed affects both. For comparison, the output also lists the seconds that upstream's
own trainer took for these epochs on one thread of another machine.
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from interpbench_jax.training.stack import Stack

# Seconds of an epoch and of its validation, as measured with InterpBench `220791e` on one thread.
UPSTREAM_SECONDS = {"11": (38.6, 13.3), "13": (6.8, 2.7)}
BATCH = 256


def time_ours(stack: "Stack", epochs: int) -> dict[str, list[float]]:
    """Return the seconds of each epoch's training and validation; the first ones are cold."""
    import jax

    state = stack.start()
    models = stack.models(np.ones(len(stack.jobs), bool))
    found: dict[str, list[float]] = {"training": [], "validation": []}
    for epoch in range(epochs):
        started = time.perf_counter()
        key = jax.random.fold_in(jax.random.key(0), epoch)
        state, _ = jax.block_until_ready(stack.epoch.run(state, models, stack.data, key))
        trained = time.perf_counter()
        stack.examine(state.average)
        found["training"].append(trained - started)
        found["validation"].append(time.perf_counter() - trained)
    return found


def run_peer(job_file: Path) -> None:
    """Run the same steps with TransformerLens's hooks. Needs torch and none of our packages."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformer_lens import (  # pyright: ignore[reportMissingImports]
        HookedTransformer,
        HookedTransformerConfig,
    )

    job = json.loads(job_file.read_text())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    model = HookedTransformer(HookedTransformerConfig(**job["config"], device="cpu"))
    model.set_use_attn_result(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.9))
    rng = np.random.default_rng(0)
    shape = (BATCH, job["config"]["n_ctx"])

    def draw() -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
        tokens = torch.from_numpy(rng.integers(0, job["config"]["d_vocab"], (2, *shape)))
        classes = torch.from_numpy(rng.integers(0, job["config"]["d_vocab_out"], shape))
        return tokens[0], tokens[1], classes

    def replaced(base: "torch.Tensor", source: "torch.Tensor", node: tuple[str, int | None]):
        name, head = node
        with torch.no_grad():
            _, cache = model.run_with_cache(source)

        def hook(value, hook):
            if head is None:
                return cache[name]
            value = value.clone()
            value[:, :, head] = cache[name][:, :, head]
            return value

        return model.run_with_hooks(base, fwd_hooks=[(name, hook)])

    def descend(logits: "torch.Tensor", classes: "torch.Tensor") -> None:
        loss = torch.nn.functional.cross_entropy(
            logits[:, 1:].flatten(0, 1), classes[:, 1:].flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def train_batch() -> None:
        base, source, classes = draw()
        for nodes in (job["aligned"], job["outside"]):
            node = nodes[rng.integers(len(nodes))]
            descend(replaced(base, source, node), classes)
        descend(model(base), classes)

    def validate_batch() -> None:
        base, source, classes = draw()
        with torch.no_grad():
            logits = [model(base)]
            # As upstream: one aligned variable per batch, every node outside the circuit.
            chosen = [job["aligned"][rng.integers(len(job["aligned"]))], *job["outside"]]
            logits += [replaced(base, source, node) for node in chosen]
            _ = [(each.argmax(-1) == classes).float().mean().item() for each in logits]

    seconds = {}
    for name, run in (("training", train_batch), ("validation", validate_batch)):
        run()
        started = time.perf_counter()
        for _ in range(job["batches"]):
            run()
        seconds[name] = (time.perf_counter() - started) / job["batches"]
    print(json.dumps(seconds))


def time_peer(case_id: str, python: str, batches: int, threads: int) -> dict[str, float]:
    """Return the seconds per batch of the TransformerLens loop."""
    from interpbench_jax.cases import CASES
    from interpbench_jax.sites import Node

    def name(node: Node) -> tuple[str, int | None]:
        return str(node.hook), node.head

    task = CASES[case_id]
    config = dataclasses.asdict(task.config)
    job = {
        "config": config | {"use_hook_mlp_in": True, "use_split_qkv_input": True},
        "aligned": [name(nodes[0]) for nodes in task.alignment.values()],
        "outside": [name(node) for node in task.nodes_not_in_circuit],
        "batches": batches,
        "threads": threads,
    }
    with tempfile.TemporaryDirectory() as folder:
        job_file = Path(folder) / "job.json"
        job_file.write_text(json.dumps(job))
        command = [python, __file__, "--peer-job", str(job_file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The TransformerLens loop failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(case_id: str, seeds: int, epochs: int) -> dict[str, object]:
    """Return our times for a case."""
    from interpbench_jax.cases import CASES, Recipe
    from interpbench_jax.training.stack import stack_tasks

    task = CASES[case_id]
    (stack,) = stack_tasks((task,), range(seeds), Recipe.released(task.training))
    times = time_ours(stack, epochs)
    validation_batches = -(-stack.recipe.n_validation // BATCH)
    return {
        "case": case_id,
        "seeds": seeds,
        "batches": stack.epoch.n_batches,
        "validation_batches": validation_batches,
        **{
            f"{what}_{when}": seconds
            for what, all_seconds in times.items()
            for when, seconds in (
                ("cold", all_seconds[0]),
                ("warm", min(all_seconds[1:])),
                ("warm_worst", max(all_seconds[1:])),
            )
        },
    }


def main() -> None:
    """Read the arguments and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=["11", "13"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--python", help="an interpreter that has transformer-lens<3")
    parser.add_argument("--peer-batches", type=int, default=40)
    parser.add_argument("--peer-threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer-job", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer_job:
        run_peer(arguments.peer_job)
        return
    import jax

    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    rows = []
    for case_id in arguments.cases:
        for seeds in arguments.seeds:
            row = measure(case_id, seeds, arguments.epochs)
            if arguments.python:
                peer = time_peer(
                    case_id, arguments.python, arguments.peer_batches, arguments.peer_threads
                )
                row["peer_training"] = peer["training"] * int(str(row["batches"]))
                row["peer_validation"] = peer["validation"] * int(str(row["validation_batches"]))
            rows.append(row)
            if not arguments.json:
                print_row(row)
    if arguments.json:
        machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": sys.version}
        print(json.dumps({"machine": machine, "rows": rows}, indent=1))


def print_row(row: dict[str, object]) -> None:
    """Print one case and number of seeds as text."""
    print(
        f"case {row['case']}, {row['seeds']} seeds: {row['batches']} batches; "
        f"training cold {row['training_cold']:.2f} s, warm {row['training_warm']:.2f} "
        f"(worst {row['training_warm_worst']:.2f}); validation cold {row['validation_cold']:.2f}, "
        f"warm {row['validation_warm']:.2f} (worst {row['validation_warm_worst']:.2f})"
    )
    ours = float(str(row["training_warm"])) + float(str(row["validation_warm"]))
    per_seed = ours / int(str(row["seeds"]))
    if str(row["case"]) in UPSTREAM_SECONDS:
        total = sum(UPSTREAM_SECONDS[str(row["case"])])
        print(f"  upstream's trainer, elsewhere: {total:.1f} s, {total / per_seed:.1f} x per seed")
    if "peer_training" in row:
        training, validation = float(str(row["peer_training"])), float(str(row["peer_validation"]))
        print(
            f"  TransformerLens here: {training:.1f} + {validation:.1f} s, "
            f"{training / float(str(row['training_warm'])) * int(str(row['seeds'])):.1f} x and "
            f"{(training + validation) / per_seed:.1f} x per seed"
        )


if __name__ == "__main__":
    main()
