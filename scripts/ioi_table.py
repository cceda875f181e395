"""Print the tables of docs/results.md about language tasks: patching and discovery on `ioi`.

    python scripts/ioi_table.py [--case ioi_next_token] [--n 100] [--acdc-n 32]

There are two Markdown tables: the area of exhaustive edge patching with each counterfactual, and
the areas of the methods beside those that MIB reports for its IOI model.
"""

import argparse
import time
import warnings
from collections.abc import Iterator

import interpbench_jax as ib
from interpbench_jax.cases import IoiTask
from interpbench_jax.circuit import Circuit
from interpbench_jax.discovery import Scores
from interpbench_jax.universes import UNIVERSES

UNIVERSE = "qkv-merged"
# Mueller et al. 2025 (arXiv:2504.13151): AUROC of edges, IOI of InterpBench.
MIB = {
    "eap": 0.73,
    "eap-ig-inputs": 0.71,
    "eap-ig-activations": 0.81,
    "exact": 0.28,
    "flow-routes": 0.71,
    "chance": 0.44,
}
METHODS = ("eap", "eap-ig-inputs", "eap-ig-activations", "exact", "acdc", "flow-routes", "chance")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default="ioi", choices=["ioi", "ioi_next_token"])
    parser.add_argument("--n", type=int, default=100, help="pairs of inputs")
    parser.add_argument("--acdc-n", type=int, default=32, help="pairs of inputs for ACDC")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    arguments = parser.parse_args()
    case = ib.load_case(arguments.case)
    task = case.task
    assert isinstance(task, IoiTask)
    print(f"| counterfactual | {' | '.join(f'`{name}`' for name in UNIVERSES)} |")
    print("|---|" + "---|" * len(UNIVERSES))
    for line in patching_lines(case, task, arguments.n):
        print(line, flush=True)
    print()
    print("| method | `qkv-merged` | wiring | `head` | MIB's area | MIB's model | seconds |")
    print("|---|---|---|---|---|---|---|")
    for method in arguments.methods:
        n = arguments.acdc_n if method == "acdc" else arguments.n
        print(method_line(case, task, method, n), flush=True)


def patching_lines(case: ib.Case, task: IoiTask, n: int) -> Iterator[str]:
    """Yield one row per counterfactual: the areas of the drop in logit difference."""
    for kind in task.counterfactuals:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            pairs = task.sample(n, 0, split="test", counterfactual=kind)
        effects = ib.sweep_edges(case.model, pairs).effects
        areas = ib.edge_auc_by_universe(abs(effects), case.truth(), "qkv")
        yield f"| `{kind}` | " + " | ".join(_number(areas[name]) for name in UNIVERSES) + " |"


def method_line(case: ib.Case, task: IoiTask, method: str, n: int) -> str:
    """Return a method's row: its areas against the list and against the wiring, and MIB's area."""
    pairs = task.sample(n, 0, split="test")
    started = time.perf_counter()
    scores = ib.discover(case.model, pairs, method, universe=UNIVERSE)
    seconds = time.perf_counter() - started
    truths = (case.truth("upstream"), case.truth())
    listed, wiring = (_areas(scores, truth) for truth in truths)
    own = ib.scores.mib_edge_auc(scores.values, case.truth("upstream"), UNIVERSE)
    published = f"{MIB[method]:.2f}" if method in MIB else ""
    return (
        f"| `{method}` | {_number(listed[UNIVERSE])} | {_number(wiring[UNIVERSE])} | "
        f"{_number(listed['head'])} | {own:.3f} | {published} | {seconds:.0f} |"
    )


def _areas(scores: Scores, truth: Circuit) -> dict[str, float | None]:
    return {**ib.edge_auc_by_universe(abs(scores.values), truth, scores.universe)}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
