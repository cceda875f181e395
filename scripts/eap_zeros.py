"""Show in numbers why edge attribution patching has areas of 0 in the paper's table.

For every packaged classification case: the model's error, the size of EAP's scores and of the exact
effects, and the area under the ROC curve, computed the paper's way (over fixed thresholds) and by
rank, in float32 and in float64. Prints a Markdown table.

    python scripts/eap_zeros.py [--n 1000] [--json]
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np

import interpbench_jax as ib
from interpbench_jax.bench.paper import SMALLEST_THRESHOLD
from interpbench_jax.cases import RASP_CASES
from interpbench_jax.metrics import summed_cross_entropy
from interpbench_jax.targets import is_scored

HEADINGS = {
    "case": "case",
    "error": "mean 1 - p(target)",
    "eap32": "largest EAP score, float32",
    "eap64": "float64",
    "exact": "largest exact effect",
    "paper32": "paper mode, float32",
    "paper64": "float64",
    "rank32": "by rank, float32",
    "rank64": "float64",
    "null": "chance (97.5 %)",
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Why EAP has areas of 0, in numbers.")
    parser.add_argument("--n", type=int, default=1000, help="inputs per case")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    arguments = parser.parse_args()
    cases = [ib.load_case(case_id) for case_id in RASP_CASES]
    rows = [explain(case, arguments.n) for case in cases if not case.config.is_regression]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"Positive scores below {SMALLEST_THRESHOLD:g}, the smallest positive threshold, tie.\n")
    print("| " + " | ".join(HEADINGS.values()) + " |")
    print("|" + "---|" * len(HEADINGS))
    for row in rows:
        print("| " + " | ".join(_show(row[name]) for name in HEADINGS) + " |")


def explain(case: ib.Case, n_inputs: int) -> dict[str, str | float | None]:
    """Return one row of the table."""
    pairs = case.sample(n_inputs, seed=0, split="test")
    precise = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), case.model)
    assert case.circuit is not None
    row: dict[str, str | float | None] = {"case": case.case_id}
    for bits in (32, 64):
        with jax.enable_x64(bits == 64):
            model = jax.tree.map(jnp.asarray, precise)
            scores = ib.discover(
                model, pairs, "eap", metric=summed_cross_entropy, universe="qkv-merged"
            )
            if bits == 64:
                row["error"] = _error(model, pairs.input_ids, pairs.metric_targets)
        values = scores.values
        row[f"eap{bits}"] = float(abs(values).max())
        row[f"paper{bits}"] = ib.scores.paper_auc(
            ib.scores.paper_curve(values, case.circuit, "qkv-merged")
        )
        ranks = ib.rank_scores(values, case.circuit, "qkv-merged")
        (head,) = [one for one in ranks if (one.universe, one.level) == ("head", "edge")]
        row[f"rank{bits}"], row["null"] = head.roc_auc, head.null_high
    exact = ib.sweep_edges(case.model, pairs, universe="qkv-merged", metric=summed_cross_entropy)
    row["exact"] = float(np.max(exact.effects))
    return row


def _error(model: ib.Transformer, tokens: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean probability of the wrong classes, accurate even where it is tiny."""
    logits = model(tokens)[:, 1:]
    is_target = jax.nn.one_hot(jnp.asarray(targets[:, 1:]), logits.shape[-1], dtype=bool)
    others = jnp.where(is_target, -jnp.inf, jax.nn.log_softmax(logits, axis=-1))
    counts = is_scored(jnp.asarray(targets[:, 1:]))
    return float(jnp.exp(others).sum(axis=-1).mean(where=counts))


def _show(value: str | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.3f}" if value == 0 or 1e-3 <= value <= 1 else f"{value:.1e}"


if __name__ == "__main__":
    main()
