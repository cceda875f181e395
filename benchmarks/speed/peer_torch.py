"""Code that both PyTorch contestants share: our weights in a `HookedTransformer`, the metric."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.speed.job import Job, Options

if TYPE_CHECKING:
    import torch  # pyright: ignore[reportMissingImports]
    from transformer_lens import HookedTransformer  # pyright: ignore[reportMissingImports]

_BUFFERS = ("mask", "IGNORE")
_TRIALS = 5


def load_model(job: Job, options: Options) -> "HookedTransformer":
    """Load the job's model, with hooks for every reader's input.

    Raises:
        ValueError: if a weight is missing or unexpected.
    """
    import torch  # pyright: ignore[reportMissingImports]
    from transformer_lens import (  # pyright: ignore[reportMissingImports]
        HookedTransformer,
        HookedTransformerConfig,
    )

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    # The jobs' inputs have no padding, which TransformerLens's config does not know.
    known = {name: value for name, value in job.config.items() if name != "pad_token"}
    config = HookedTransformerConfig(**known, device=options.device, init_weights=False)
    model = HookedTransformer(config)
    state = {name: torch.from_numpy(array) for name, array in job.weights.items()}
    found = model.load_state_dict(state, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith(_BUFFERS)]
    if missing or found.unexpected_keys:
        raise ValueError(
            f"Expected exactly TransformerLens's weights; missing {missing}, unexpected "
            f"{found.unexpected_keys}."
        )
    model.set_use_split_qkv_input(True)
    model.set_use_hook_mlp_in(True)
    return model.eval()


def load_tokens(job: Job, options: Options) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return the clean and the corrupted inputs, on the device."""
    import torch  # pyright: ignore[reportMissingImports]

    clean, corrupted = (
        torch.from_numpy(array.astype(np.int64)).to(options.device)
        for array in (job.clean, job.corrupted)
    )
    return clean, corrupted


def choose_threads(run: Callable[[], object], options: Options) -> None:
    """Unless the options fix threads, use all threads or one, whichever is faster in trials."""
    import torch  # pyright: ignore[reportMissingImports]

    if options.threads is not None:
        return
    seconds: dict[int, float] = {}
    for threads in (torch.get_num_threads(), 1):
        torch.set_num_threads(threads)
        run()
        seconds[threads] = min(_time(run) for _ in range(_TRIALS))
    torch.set_num_threads(min(seconds, key=seconds.__getitem__))


def _time(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def mean_divergence(clean_log_probs: "torch.Tensor", logits: "torch.Tensor") -> float:
    """Return the KL divergence from the clean output, averaged over inputs and positions from 1."""
    log_probs = logits[:, 1:].log_softmax(-1)
    return (clean_log_probs.exp() * (clean_log_probs - log_probs)).sum(-1).mean().item()


def split_head(name: str) -> tuple[str, int | None]:
    """Split a hook's name from the head after it, if any: `"a[2]"` becomes `("a", 2)`."""
    hook, _, rest = name.partition("[")
    return hook, int(rest.removesuffix("]")) if rest else None


def facts() -> dict[str, str | float]:
    """Return the versions and the number of threads."""
    import importlib.metadata

    import torch  # pyright: ignore[reportMissingImports]

    return {
        "torch": torch.__version__,
        "transformer_lens": importlib.metadata.version("transformer-lens"),
        "threads": float(torch.get_num_threads()),
    }
