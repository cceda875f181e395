"""Compare TransformerLens's logits and activations with ours, on a case that we exported.

    python benchmarks/to_transformer_lens.py CASE --python VENV/bin/python [--dtype float64]

CASE is a folder or an id. The case is written in upstream's layout; the other interpreter, which
needs torch and `transformer-lens<3` but not our packages, loads it and computes the logits and
every activation on the same tokens. An error is `max|a - b| / max|b|`, where b is TransformerLens's
array. A softmax amplifies the rounding of its scores, so the largest score is shown: float32
patterns cannot agree better than about 6e-8 times it, and `--dtype float64` shows whether rounding
explains the whole error.
"""

import argparse
import dataclasses
import json
import pickle
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from interpbench_conversion.to_torch import FileLayout
    from interpbench_jax.case import Case


def run_transformer_lens(folder: Path, tokens_file: Path, output_file: Path) -> None:
    """Load upstream's files as its users do and write every activation, without our packages."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformer_lens import (  # pyright: ignore[reportMissingImports]
        HookedTransformer,
        HookedTransformerConfig,
    )

    (weights,) = folder.glob("ll_model*.pth")
    (config_file,) = folder.glob("ll_model_cfg*.pkl")
    with config_file.open("rb") as file:
        config = HookedTransformerConfig.from_dict(pickle.load(file))
    model = HookedTransformer(config)
    model.load_state_dict(torch.load(weights, weights_only=True))
    with np.load(tokens_file) as arrays, torch.no_grad():
        logits, cache = model.run_with_cache(torch.from_numpy(arrays["tokens"]))
    activations = {f"act/{name}": value.numpy() for name, value in cache.items()}
    np.savez(output_file, logits=logits.numpy(), **activations)


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return `max|a - b| / max|b|` over finite entries; infinities must be in the same places."""
    finite = np.isfinite(theirs)
    if ours.shape != theirs.shape or not np.array_equal(ours[~finite], theirs[~finite]):
        return float("inf")
    difference = float(np.abs(ours[finite].astype(np.float64) - theirs[finite]).max(initial=0))
    scale = float(np.abs(theirs[finite]).max(initial=0))
    if scale == 0:
        return 0.0 if difference == 0 else float("inf")
    return difference / scale


def largest_score(activations: Mapping[str, np.ndarray]) -> float:
    """Return the largest absolute attention score."""
    scores = [array for name, array in activations.items() if name.endswith(".hook_attn_scores")]
    return max(float(np.abs(array[np.isfinite(array)]).max()) for array in scores)


def compare(
    case: "Case", layout: "FileLayout", n: int, seed: int, python: Path
) -> dict[str, object]:
    """Return the errors by activation, and the activations that only one side has."""
    import jax

    from interpbench_conversion.to_torch import write_upstream
    from interpbench_jax import run_with_cache
    from interpbench_jax.inputs import uniform_pairs

    dtype = next(iter(case.weights.values())).dtype
    tokens = uniform_pairs(case, n, seed).pairs.input_ids
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_upstream(case, Path(temporary) / "case", layout=layout)
        tokens_file, output_file = Path(temporary) / "tokens.npz", Path(temporary) / "theirs.npz"
        np.savez(tokens_file, tokens=tokens.astype(np.int64))
        worker = [python, Path(__file__).resolve(), "--worker", folder, tokens_file, output_file]
        subprocess.run([str(part) for part in worker], check=True, timeout=600)
        with np.load(output_file) as arrays:
            theirs = dict(arrays)
    with jax.enable_x64(dtype == np.float64):
        logits, cache = run_with_cache(case.model, tokens)
    ours = {"logits": np.asarray(logits)}
    ours |= {f"act/{name}": np.asarray(value) for name, value in cache.items()}
    shared = [name for name in theirs if name in ours]
    errors = {name: relative_error(ours[name], theirs[name]) for name in shared}
    return {
        "case": case.case_id,
        "layout": layout,
        "dtype": str(dtype),
        "inputs": n,
        "largest_score": largest_score(theirs),
        "logits": errors["logits"],
        "worst": max(errors, key=errors.__getitem__),
        "max_relative_error": max(errors.values()),
        "errors": errors,
        "only_ours": sorted(set(ours) - set(theirs)),
        "only_theirs": sorted(set(theirs) - set(ours)),
    }


def main() -> None:
    """Compare the two sides and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("case", nargs="?", help="a folder with a case's files, or an id")
    parser.add_argument("--python", type=Path, help="an interpreter that has transformer-lens<3")
    parser.add_argument("--repo", help="where to look up an id: hub, or a repository")
    parser.add_argument("--layout", choices=("current", "v1"), default="current")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="default: as stored")
    parser.add_argument("--n", type=int, default=64, help="number of inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", nargs=3, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        run_transformer_lens(*arguments.worker)
        return
    if arguments.case is None or arguments.python is None:
        parser.error("expected a case and --python, the interpreter that has TransformerLens")
    import interpbench_jax as ib

    folder = Path(arguments.case)
    if folder.is_dir():
        case = ib.load_case(folder)
    elif arguments.repo:
        case = ib.load_case(arguments.case, arguments.repo)
    else:
        case = ib.load_case(arguments.case)
    if arguments.dtype:
        weights = {name: a.astype(arguments.dtype) for name, a in case.weights.items()}
        case = dataclasses.replace(case, weights=weights)
    python = arguments.python.absolute()
    found = compare(case, arguments.layout, arguments.n, arguments.seed, python)
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        print_table(found)


def print_table(found: Mapping[str, object]) -> None:
    """Print the result of `compare`, one activation per line."""
    errors = found["errors"]
    assert isinstance(errors, dict)
    for activation, error in errors.items():
        print(f"{activation:45} {error:.2e}")
    print(
        f"Case {found['case']} ({found['dtype']}, {found['layout']}), {found['inputs']} inputs: "
        f"logits {found['logits']:.2e}, worst {found['max_relative_error']:.2e} at "
        f"{found['worst']}; largest score {found['largest_score']:.0f}; only ours: "
        f"{found['only_ours']}, only theirs: {found['only_theirs']}"
    )


if __name__ == "__main__":
    main()
