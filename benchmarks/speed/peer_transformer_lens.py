"""Exhaustive edge patching as TransformerLens's users write it: a hook and a run for each edge.

The setup favors TransformerLens: both runs are cached once, heads' results are computed only for
them, one run without gradients patches an edge for all inputs, the hook changes its input in place,
and torch runs on one thread where that is faster than on all.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.speed.job import Job, Options, Prepared
from benchmarks.speed.peer_torch import (
    choose_threads,
    facts,
    load_model,
    load_tokens,
    mean_divergence,
    split_head,
)

if TYPE_CHECKING:
    import torch  # pyright: ignore[reportMissingImports]

Hook = Callable[["torch.Tensor", object], "torch.Tensor"]


def prepare(job: Job, options: Options) -> Prepared:
    """Load the model; a run then caches both inputs and patches every edge."""
    import torch  # pyright: ignore[reportMissingImports]

    model = load_model(job, options)
    clean, corrupted = load_tokens(job, options)
    writers = {src for src, _ in job.edges}

    def differences() -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        model.set_use_attn_result(True)
        logits, kept = model.run_with_cache(clean)
        _, replaced = model.run_with_cache(corrupted)
        model.set_use_attn_result(False)
        found = {}
        for writer in writers:
            name, head = split_head(writer)
            change = replaced[name] - kept[name]
            found[writer] = change if head is None else change[:, :, head]
        return logits[:, 1:].log_softmax(-1), found

    def run() -> np.ndarray:
        effects = np.empty(len(job.edges))
        with torch.no_grad():
            clean_log_probs, change = differences()
            for index, (src, dst) in enumerate(job.edges):
                name, head = split_head(dst)
                hook = _adding(change[src], head)
                logits = model.run_with_hooks(clean, fwd_hooks=[(name, hook)])
                effects[index] = mean_divergence(clean_log_probs, logits)
        return effects

    with torch.no_grad():
        choose_threads(lambda: model(clean), options)
    return Prepared(run, facts())


def _adding(change: "torch.Tensor", head: int | None) -> Hook:
    def add(value: "torch.Tensor", hook: object) -> "torch.Tensor":
        if head is None:
            return value.add_(change)
        value[:, :, head] += change
        return value

    return add
