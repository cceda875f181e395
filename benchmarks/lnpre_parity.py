"""Compare our layer norm model with TransformerLens's, at the size of the IOI case.

    python benchmarks/lnpre_parity.py --python VENV/bin/python

Both sides get the same random weights in the shape of `ioi`: 6 layers of 4 heads, LNPre. The other
interpreter, which needs torch and `transformer-lens<3` but not our packages, runs the model in
float64 and writes every activation, and the logits of runs in which one edge carries its writer's
output on other inputs. Ours runs in float64 and in float32. An error is
`max|a - b| / max(1, max|b|)`, where b is TransformerLens's array.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from interpbench_jax import TransformerConfig

SHAPE = {
    "n_layers": 6,
    "n_heads": 4,
    "d_model": 64,
    "d_head": 16,
    "d_mlp": 3072,
    "d_vocab": 120,
    "d_vocab_out": 120,
    "n_ctx": 32,
    "act_fn": "gelu_new",
    "normalization_type": "LNPre",
    "eps": 1e-5,
}
Arrays = Mapping[str, np.ndarray]


def run_transformer_lens(folder: Path) -> None:
    """Write TransformerLens's activations and patched logits. Needs none of our packages."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformer_lens import (  # pyright: ignore[reportMissingImports]
        HookedTransformer,
        HookedTransformerConfig,
    )

    config = HookedTransformerConfig(
        **json.loads((folder / "config.json").read_text()),
        attention_dir="causal",
        use_attn_result=True,
        use_split_qkv_input=True,
        use_hook_mlp_in=True,
        device="cpu",
        dtype=torch.float64,
        init_weights=False,
    )
    model = HookedTransformer(config)
    with np.load(folder / "weights.npz") as weights:
        state = {name: torch.from_numpy(weights[name]) for name in weights.files}
    found = model.load_state_dict(state, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith(("mask", "IGNORE"))]
    if missing or found.unexpected_keys:
        raise ValueError(
            f"Expected all weights; missing {missing}, unexpected {found.unexpected_keys}."
        )
    with np.load(folder / "given.npz") as given, torch.no_grad():
        clean, other = (torch.from_numpy(given[name]) for name in ("clean", "other"))
        logits, cache = model.run_with_cache(clean)
        _, others = model.run_with_cache(other)

        def split(name: str) -> tuple[str, slice | int]:
            hook, _, head = name.rstrip("]").partition("[")
            return hook, int(head) if head else slice(None)

        def patch(edge: np.ndarray) -> np.ndarray:
            (writer, part), (reader, head) = split(str(edge[0])), split(str(edge[1]))
            at = (slice(None), slice(None))
            change = (others[writer] - cache[writer])[(*at, part)]

            def add(read: "torch.Tensor", hook: object) -> "torch.Tensor":
                changed = read.clone()
                changed[(*at, head)] += change
                return changed

            return model.run_with_hooks(clean, fwd_hooks=[(reader, add)]).numpy()

        patched = np.stack([patch(edge) for edge in given["edges"]])
    activations = {f"act/{name}": value.numpy() for name, value in cache.items()}
    np.savez(folder / "theirs.npz", logits=logits.numpy(), patched=patched, **activations)


def ask_transformer_lens(python: Path, weights: Arrays, given: Arrays) -> dict[str, np.ndarray]:
    """Return the arrays that the other interpreter computes."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "config.json").write_text(json.dumps(SHAPE))
        np.savez(folder / "weights.npz", **weights)  # pyright: ignore[reportArgumentType]
        np.savez(folder / "given.npz", **given)  # pyright: ignore[reportArgumentType]
        worker = [python, Path(__file__).resolve(), "--worker", folder]
        subprocess.run([str(part) for part in worker], check=True, timeout=900)
        with np.load(folder / "theirs.npz") as found:
            return dict(found)


def errors_of(
    config: "TransformerConfig", weights: Arrays, given: Arrays, theirs: Arrays, dtype: str
) -> dict[str, float]:
    """Return our errors in one precision: by activation, in the logits and the patched logits."""
    import jax

    from interpbench_conversion.verify import relative_error
    from interpbench_jax import SweepOptions, build_model, parse_edge, run_with_cache, sweep_cuts

    with jax.enable_x64(dtype == "float64"):
        own = {name: array.astype(dtype) for name, array in weights.items()}
        model = build_model(config, own)
        clean, other = (given[name].astype(np.int32) for name in ("clean", "other"))
        logits, cache = run_with_cache(model, clean)
        cuts = [[parse_edge(f"{src} -> {dst}")] for src, dst in given["edges"]]
        patched = sweep_cuts(
            model, clean, other, cuts=cuts, options=SweepOptions(return_logits=True)
        ).logits
    ours = {"logits": logits, "patched": patched}
    ours |= {f"act/{name}": value for name, value in cache.items()}
    if set(ours) != set(theirs):
        raise ValueError(
            f"Expected the same hooks; one side lacks {sorted(set(ours) ^ set(theirs))}."
        )
    return {name: relative_error(np.asarray(ours[name]), theirs[name]) for name in theirs}


def compare(python: Path, n_inputs: int, n_edges: int, seed: int) -> dict[str, dict[str, float]]:
    """Return the errors in both precisions."""
    from interpbench_jax import TransformerConfig, universe
    from interpbench_jax.weights import weight_shapes

    config = TransformerConfig.from_dict(SHAPE)
    generator = np.random.default_rng(seed)
    weights = {
        name: generator.normal(size=shape) / config.d_model**0.5
        for name, shape in weight_shapes(config).items()
    }
    tokens = generator.integers(0, config.d_vocab, (2, n_inputs, config.n_ctx))
    edges = universe("qkv", config.n_layers, config.n_heads).edges
    chosen = generator.choice(len(edges), n_edges, replace=False)
    names = np.asarray([(str(edges[i].src), str(edges[i].dst)) for i in sorted(chosen)])
    given = {"clean": tokens[0], "other": tokens[1], "edges": names}
    theirs = ask_transformer_lens(python, weights, given)
    return {
        dtype: errors_of(config, weights, given, theirs, dtype) for dtype in ("float64", "float32")
    }


def main() -> None:
    """Compare the models and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--python", type=Path, help="an interpreter that has transformer-lens<3")
    parser.add_argument("--n", type=int, default=4, help="number of inputs")
    parser.add_argument("--edges", type=int, default=60, help="number of patched edges")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        run_transformer_lens(arguments.worker)
        return
    if arguments.python is None:
        parser.error("expected --python, the interpreter that has TransformerLens")
    python = arguments.python.absolute()
    found = compare(python, arguments.n, arguments.edges, arguments.seed)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for dtype, errors in found.items():
        hooks = {name: error for name, error in errors.items() if name.startswith("act/")}
        worst = max(hooks, key=hooks.__getitem__)
        print(
            f"{dtype}: {len(hooks)} hooks, worst {hooks[worst]:.1e} at {worst[4:]}; logits "
            f"{errors['logits']:.1e}; {arguments.edges} patched edges {errors['patched']:.1e}"
        )


if __name__ == "__main__":
    main()
