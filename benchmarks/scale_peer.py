"""Time EAP-IG's published code on a job, in a separate process.

    PYTHON -m benchmarks.scale_peer FOLDER METHOD CODE BATCH CALLS

The interpreter needs `transformer-lens<3`; the only modules of ours that it imports need just
NumPy. Their code asks for a GPU by name and for a tokenizer; here it gets the CPU, and inputs that
are tokens already. Prints one JSON object; writes the scores in the order of our edges.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.speed.job import Job, Options, read_job
from benchmarks.speed.peer_torch import load_model

_NAMES = {"eap": "EAP", "eap-ig-inputs": "EAP-IG-inputs"}
_STEPS = 5


def main() -> None:
    """Run the method and print its times."""
    folder, method, code = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    batch, calls = int(sys.argv[4]), int(sys.argv[5])
    sys.path.insert(0, code)
    # Drawing graphs needs Graphviz, which is of no use here.
    sys.modules["eap.visualization"] = _Anything("eap.visualization")
    import torch  # pyright: ignore[reportMissingImports]

    job = read_job(folder)
    model = load_model(job, Options())
    model.set_use_attn_result(True)
    real_zeros = torch.zeros
    torch.zeros = lambda *size, device=None, **options: real_zeros(*size, **options)
    from eap import attribute, graph  # pyright: ignore[reportMissingImports]

    attribute.tokenize_plus = _as_tokens
    seconds, edges = list[float](), graph.Graph.from_model(model)
    for _ in range(calls):
        edges = graph.Graph.from_model(model)
        started = time.perf_counter()
        options = {"ig_steps": _STEPS} if "ig" in method else {}
        attribute.attribute(
            model, edges, list(_batches(job, batch)), _loss, _NAMES[method], quiet=True, **options
        )
        seconds.append(time.perf_counter() - started)
    scores = [edges.edges[_edge(*pair)].score for pair in job.edges]
    np.save(folder / f"scores-peer-{method}.npy", np.asarray([float(score) for score in scores]))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        json.dumps(
            {
                "method": method,
                "contestant": "EAP-IG",
                "seconds": seconds,
                "gigabytes": memory,
            }
        )
    )


class _Anything(ModuleType):
    """A module of which everything can be imported."""

    def __getattr__(self, name: str) -> Any:
        return None


def _batches(job: Job, size: int) -> Iterator[tuple[Any, Any, Any]]:
    import torch  # pyright: ignore[reportMissingImports]

    from benchmarks.scale_targets import targets_of

    arrays = (job.clean, job.corrupted, targets_of(job))
    clean, corrupted, targets = (torch.from_numpy(each.astype(np.int64)) for each in arrays)
    for start in range(0, len(clean), size):
        rows = slice(start, start + size)
        yield clean[rows], corrupted[rows], targets[rows]


def _as_tokens(model: Any, inputs: Any, max_length: int | None = None) -> tuple[Any, ...]:
    import torch  # pyright: ignore[reportMissingImports]

    return inputs, None, torch.full((len(inputs),), inputs.shape[1]), inputs.shape[1]


def _loss(logits: Any, clean: Any, lengths: Any, targets: Any) -> Any:
    """The cross-entropy of each input, a mean over positions but the first; summed over inputs."""
    log_probs = logits[:, 1:].log_softmax(-1)
    return -log_probs.gather(-1, targets[:, 1:, None]).mean(dim=(1, 2)).sum()


def _edge(source: str, reader: str) -> str:
    """An edge by their names."""
    letter = {"q": "<q>", "k": "<k>", "v": "<v>"}
    start = _node(source)
    for kind, suffix in letter.items():
        if f"hook_{kind}_input" in reader:
            return f"{start}->{_node(reader)}{suffix}"
    return f"{start}->{_node(reader)}"


def _node(name: str) -> str:
    hook, _, head = name.partition("[")
    _, layer, *rest = hook.split(".")
    if rest == ["hook_resid_pre"]:
        return "input"
    if rest == ["hook_resid_post"]:
        return "logits"
    return f"a{layer}.h{head.removesuffix(']')}" if head else f"m{layer}"


if __name__ == "__main__":
    main()
