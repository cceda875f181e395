"""Kill a training run repeatedly and check that it ends as if nothing had happened.

    python benchmarks/kill_and_resume.py [--kills 20] [--seed 0] [--json]

A tiny model is trained in a separate process, which is killed (SIGKILL) at a random moment and
restarted in the same folder, `--kills` times, and then left to finish. Its weights and its log are
compared with those of an undisturbed training run. After each kill the folder is inspected: which
phase the process was in, as far as its files show, and whether any file under its final name is
half-written. Every fourth kill comes within about 3 seconds of its process's start, so that it may
hit the time before the first epoch is done; the others come a random time after that epoch.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Literal

EPOCHS = 400
_LONGEST_SLEEP = 0.4
_PATIENCE = 300.0

Phase = Literal["before the first epoch", "during an epoch", "during a checkpoint"]


@dataclasses.dataclass(frozen=True)
class Report:
    """The results of the experiment.

    Attributes:
        kills: how many processes were killed.
        phases: how many kills fell into each phase.
        epochs: the epochs of the whole training run.
        half_written: files under their final name that cannot be read, and final leftovers.
        digest: the digest of the disturbed run's weights and log.
        undisturbed_digest: the same digest for the undisturbed run.
        seconds: how long the whole experiment took.
    """

    kills: int
    phases: dict[str, int]
    epochs: int
    half_written: list[str]
    digest: str
    undisturbed_digest: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the kills left no trace."""
        return self.digest == self.undisturbed_digest and not self.half_written


def measure(kills: int, seed: int, epochs: int = EPOCHS) -> Report:
    """Train once undisturbed and once with kills, and compare.

    Raises:
        RuntimeError: if a training run fails by itself or finishes before it is killed `kills`
            times.
    """
    started = time.perf_counter()
    rng = random.Random(seed)
    phases: Counter[str] = Counter()
    half_written: list[str] = []
    with tempfile.TemporaryDirectory() as root:
        undisturbed = _finish(Path(root) / "undisturbed", epochs)
        folder = Path(root) / "killed"
        for kill in range(kills):
            phases[_kill_once(folder, epochs, rng, is_early=kill % 4 == 0)] += 1
            half_written += _half_written(folder)
        digest = _finish(folder, epochs)
        half_written += _half_written(folder) + _leftovers(folder)
    seconds = time.perf_counter() - started
    return Report(kills, dict(phases), epochs, half_written, digest, undisturbed, seconds)


def _start(folder: Path, epochs: int) -> subprocess.Popen[str]:
    # The compilation cache avoids recompiling after each kill.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, __file__, "--train", str(folder), "--epochs", str(epochs)],
        env={**os.environ, **cache},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(folder: Path, epochs: int) -> str:
    """Let a training run finish and return its digest."""
    process = _start(folder, epochs)
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(
            f"Expected training to finish, got exit code {process.returncode}: {err}"
        )
    return out.strip().splitlines()[-1]


def _kill_once(folder: Path, epochs: int, rng: random.Random, is_early: bool) -> Phase:
    """Start training, kill the process at a random moment and return the phase it was in."""
    before = _last_checkpoint(folder)
    process = _start(folder, epochs)
    began = time.perf_counter()
    earliest = rng.uniform(0, 3.0) if is_early else None
    while process.poll() is None:
        waited = time.perf_counter() - began
        if earliest is not None and waited > earliest:
            break
        if _last_checkpoint(folder) != before:
            time.sleep(rng.uniform(0, _LONGEST_SLEEP))
            break
        if waited > _PATIENCE:
            break
        time.sleep(0.005)
    was_running = process.poll() is None
    process.kill()
    _, err = process.communicate()
    if not was_running:
        raise RuntimeError(f"Expected a running training process, got one that had ended: {err}")
    if _last_checkpoint(folder) == before:
        return "before the first epoch"
    return "during a checkpoint" if _is_mid_checkpoint(folder) else "during an epoch"


def _folders(folder: Path) -> list[Path]:
    return [*folder.glob("training-*/checkpoints/*")]


def _last_checkpoint(folder: Path) -> int:
    found = (path.name.removeprefix("epoch_") for path in _folders(folder))
    return max((int(epoch) for epoch in found if epoch.isdecimal()), default=0)


def _is_mid_checkpoint(folder: Path) -> bool:
    """Whether a checkpoint was being written or removed, or the log is ahead of the last one."""
    logs = [path.read_text().splitlines() for path in folder.glob("training-*/log.jsonl")]
    logged = max((json.loads(lines[-1])["epoch"] for lines in logs if lines), default=0)
    hidden = [*folder.glob("training-*/.log.jsonl.*")]
    return len(_folders(folder)) > 1 or logged > _last_checkpoint(folder) or bool(hidden)


def _half_written(folder: Path) -> list[str]:
    """Return the incomplete files that the next process would trust."""
    wrong = []
    for path in folder.glob("training-*/log.jsonl"):
        text = path.read_text()
        try:
            records = [json.loads(line) for line in text.splitlines()]
            if not records or not text.endswith("\n"):
                wrong.append(path.name)
        except ValueError:
            wrong.append(path.name)
    last = [path for path in _folders(folder) if path.name == f"epoch_{_last_checkpoint(folder)}"]
    return wrong + [path.name for path in last if not (path / "_CHECKPOINT_METADATA").is_file()]


def _leftovers(folder: Path) -> list[str]:
    """Return the files that a finished training run should have removed."""
    hidden = [path.name for path in folder.glob("training-*/.*")]
    others = [path for path in _folders(folder) if path.name != f"epoch_{_last_checkpoint(folder)}"]
    return hidden + [path.name for path in others]


def _train(folder: Path, epochs: int) -> None:
    """Train in this process and print a digest of the weights and the log."""
    from interpbench_jax.cases import CASES, Recipe
    from interpbench_jax.training import train

    task = dataclasses.replace(CASES["36"], n_layers=1, n_heads=1, max_seq_len=4)
    # The learning rate is too low to reach the target and stop early.
    recipe = Recipe(
        learning_rate=1e-5,
        target=1.0,
        epochs=epochs,
        batch_size=16,
        n_samples=80,
        n_validation=20,
    )
    trained = train(task, seeds=2, recipe=recipe, directory=folder)
    lines = [
        dataclasses.replace(record, training_seconds=0.0, validation_seconds=0.0).to_json()
        for record in trained.log
    ]
    made = json.dumps([trained.case.provenance["weights_sha256"], *lines])
    print(hashlib.sha256(made.encode()).hexdigest())


def main() -> None:
    """Read the arguments, measure and print; exit with 1 if the kills left a trace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="random seed for the kill times")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train is not None:
        _train(arguments.train, arguments.epochs)
        return
    report = measure(arguments.kills, arguments.seed, arguments.epochs)
    if arguments.json:
        print(json.dumps({"passed": report.passed, **dataclasses.asdict(report)}, indent=1))
    else:
        print(f"{report.kills} kills in {report.seconds:.0f} s, {report.epochs} epochs")
        for phase, n in report.phases.items():
            print(f"  {phase}: {n}")
        print(f"weights and log as undisturbed: {report.digest == report.undisturbed_digest}")
        print(f"half-written files: {', '.join(report.half_written) or 'none'}")
    sys.exit(not report.passed)


if __name__ == "__main__":
    main()
