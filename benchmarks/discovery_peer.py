"""Time auto-circuit's ACDC, attribution patching and mask gradient in a separate process.

    PYTHON -m benchmarks.discovery_peer FOLDER THREADS ROUNDS

The interpreter needs auto-circuit 1.0.1; the only modules of ours that it imports need just NumPy.
Prints one JSON object: the seconds of each call, by method.

The losses are mean squared errors against the clean logits, which cost as much as the divergences
in InterpBench's fork.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.speed.job import Options, read_job
from benchmarks.speed.peer_torch import load_model, load_tokens

STEPS = 5
THRESHOLD_EXPONENT = -2


def main() -> None:
    """Prepare the calls, time them and print the seconds."""
    folder, threads, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    calls = prepare(folder, threads)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    print(json.dumps(seconds))


def prepare(folder: Path, threads: int) -> dict[str, Callable[[], object]]:
    """Return the timed calls, keyed by our names of the methods."""
    import torch  # pyright: ignore[reportMissingImports]
    from auto_circuit.data import (  # pyright: ignore[reportMissingImports]
        PromptDataLoader,
        PromptDataset,
    )
    from auto_circuit.prune_algos.ACDC import (  # pyright: ignore[reportMissingImports]
        acdc_prune_scores,
    )
    from auto_circuit.prune_algos.mask_gradient import (  # pyright: ignore[reportMissingImports]
        mask_gradient_prune_scores,
    )
    from auto_circuit.utils.graph_utils import (  # pyright: ignore[reportMissingImports]
        patchable_model,
    )

    job = read_job(folder)
    hooked = load_model(job, Options(threads=threads))
    hooked.set_use_attn_result(True)
    model = patchable_model(
        hooked, factorized=True, slice_output="not_first_seq", separate_qkv=True
    )
    clean, corrupted = load_tokens(job, Options())
    with torch.inference_mode():
        wanted = hooked(clean)[:, 1:].clone()
    answers = [row.clone() for row in wanted]
    data = PromptDataset(clean, corrupted, answers, answers)
    loader = PromptDataLoader(
        data, seq_len=clean.shape[1], diverge_idx=0, batch_size=len(clean), shuffle=False
    )

    def gradient(mask: float | None, samples: int | None) -> object:
        return mask_gradient_prune_scores(
            model,
            loader,
            None,
            grad_function="logit",
            answer_function="mse",
            mask_val=mask,
            integrated_grad_samples=samples,
        )

    return {
        "acdc": lambda: acdc_prune_scores(
            model, loader, None, tao_exps=[THRESHOLD_EXPONENT], tao_bases=[1]
        ),
        "eap": lambda: gradient(0.0, None),
        "mask-gradient": lambda: gradient(None, STEPS),
    }


if __name__ == "__main__":
    main()
