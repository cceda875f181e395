"""Print the paper's table of circuit discovery beside ours: edge areas of five methods.

    python scripts/paper_table.py [--json] [--cases 3,11] [--methods acdc,eap] [--lambdas]

Our areas come from the packaged models, the published ones from release 1.0.0's models. The script
also prints each method's mean absolute difference over the common cases, and every cell that
differs by more than 0.1, with numbers that help to explain the difference.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence

from interpbench_dataset.models import model_path
from interpbench_dataset.packaged import packaged_folder
from interpbench_jax.bench.paper import (
    PAPER_METHODS,
    SMALLEST_THRESHOLD,
    PaperCell,
    PaperMethod,
    PaperSettings,
    exact_patching,
    paper_cell,
    published_areas,
)
from interpbench_jax.cases import RASP_CASES
from interpbench_jax.certificates import BARS, read_certificate
from interpbench_jax.loading import load_case
from interpbench_jax.report.grids import number
from interpbench_jax.scores import PAPER_THRESHOLDS

FAR = 0.1


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A cell that differs by a lot, with numbers that may explain the difference.

    Attributes:
        cell: the cell.
        exact: the area, in the paper's mode, of patching every edge alone.
        exact_rank: the ROC-AUC of the same effects in the head universe.
        silent: the number of circuit edges without an effect in our model, by its certificate.
        unexpected: the number of edges outside the circuit that have an effect.
    """

    cell: PaperCell
    exact: float | None
    exact_rank: float | None
    silent: int
    unexpected: int


def measure(
    cases: Sequence[str], methods: Sequence[PaperMethod], settings: PaperSettings
) -> tuple[list[PaperCell], list[Explanation]]:
    """Compute every cell, and an explanation of each cell that differs by a lot."""
    cells: list[PaperCell] = []
    explained: list[Explanation] = []
    for case_id in cases:
        case = load_case(case_id)
        pairs = case.sample(settings.n_inputs, seed=settings.seed, split="test")
        own = []
        for method in methods:
            started = time.perf_counter()
            own.append(paper_cell(method, case, pairs, settings))
            seconds = time.perf_counter() - started
            print(f"case {case_id}: {method} in {seconds:.1f} s", file=sys.stderr, flush=True)
        far = [cell for cell in own if cell.difference is not None and abs(cell.difference) > FAR]
        if far:
            edges = read_certificate(packaged_folder() / model_path(case_id)).edges
            exact = exact_patching(case, pairs)
            counts = (
                len(edges.silent("head", "effect", BARS.outside)),
                len(edges.unexpected("head", "effect", BARS.outside)),
            )
            explained += [Explanation(cell, *exact, *counts) for cell in far]
        cells += own
    return cells, explained


def mean_differences(cells: Sequence[PaperCell]) -> dict[str, float]:
    """Return each method's mean absolute difference over the cases that both tables have."""
    found: dict[str, list[float]] = {}
    for cell in cells:
        if cell.difference is not None:
            found.setdefault(cell.method, []).append(abs(cell.difference))
    return {method: sum(own) / len(own) for method, own in found.items()}


def as_markdown(
    cells: Sequence[PaperCell],
    explained: Sequence[Explanation],
    methods: Sequence[str],
    cases: Sequence[str],
) -> str:
    """Format the tables."""
    by_key = {(cell.case, cell.method): cell for cell in cells}
    lines = [_row(["case", *(f"{method} (paper)" for method in methods)])]
    lines.append(_row(["---", *["---:"] * len(methods)]))
    for case in cases:
        own = [by_key[case, method] for method in methods]
        shown = [f"{number(cell.area)} ({number(cell.published)})" for cell in own]
        lines.append(_row([case, *shown]))
    means = mean_differences(cells)
    lines.append(_row(["mean difference", *(number(means.get(method)) for method in methods)]))
    headers = (
        *("case", "method", "ours", "paper", "largest score"),
        *("rank, head", "rank, qkv-merged", "exact", "exact rank", "silent", "unexpected"),
    )
    lines += ["", f"Off by more than {FAR}:", "", _row(headers), _row(["---"] * len(headers))]
    for each in explained:
        cell = each.cell
        below = " (below 1e-5)" if cell.largest < SMALLEST_THRESHOLD else ""
        numbers = (cell.rank_head, cell.rank_own, each.exact, each.exact_rank)
        lines.append(
            _row(
                [
                    *(cell.case, cell.method, number(cell.area), number(cell.published)),
                    f"{cell.largest:.1e}{below}",
                    *map(number, numbers),
                    *(str(each.silent), str(each.unexpected)),
                ]
            )
        )
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _as_json(
    cells: Sequence[PaperCell], explained: Sequence[Explanation], settings: PaperSettings
) -> dict[str, object]:
    return {
        "settings": dataclasses.asdict(settings),
        "cells": [{**dataclasses.asdict(cell), "difference": cell.difference} for cell in cells],
        "mean_absolute_difference": mean_differences(cells),
        "not_ours": sorted(set(published_areas()) - {cell.case for cell in cells}, key=int),
        "off": [dataclasses.asdict(each) for each in explained],
    }


def main() -> None:
    """Read the arguments, measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", help="comma-separated ids; default: all packaged cases")
    parser.add_argument("--methods", help=f"some of {','.join(PAPER_METHODS)}; default: all")
    parser.add_argument("--n", type=int, default=1000, help="pairs of inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=300, help="probing epochs; paper: 5000")
    parser.add_argument(
        "--lambdas", action="store_true", help="probe at the paper's 19 regularization strengths"
    )
    parser.add_argument("--probing-n", type=int, help="pairs of inputs for probing")
    parser.add_argument("--probing-loss", choices=("clean", "softened"), default="clean")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    arguments = parser.parse_args()
    settings = PaperSettings(
        n_inputs=arguments.n,
        seed=arguments.seed,
        epochs=arguments.epochs,
        regularisations=PAPER_THRESHOLDS if arguments.lambdas else None,
        probing_inputs=arguments.probing_n,
        probing_loss=arguments.probing_loss,
    )
    cases = arguments.cases.split(",") if arguments.cases else list(RASP_CASES)
    wanted = arguments.methods.split(",") if arguments.methods else PAPER_METHODS
    methods: list[PaperMethod] = [method for method in PAPER_METHODS if method in wanted]
    if len(methods) != len(wanted):
        parser.error(f"expected methods from {', '.join(PAPER_METHODS)}; got {wanted}")
    cells, explained = measure(cases, methods, settings)
    if arguments.json:
        print(json.dumps(_as_json(cells, explained, settings), indent=1))
    else:
        print(as_markdown(cells, explained, methods, cases))
        if arguments.lambdas:
            curve = "one circuit for each of the paper's 19 regularization strengths"
        else:
            curve = "one point for each gate value of one run, regularization strength 1"
        print(f"\nProbing (node_sp, edge_sp): {curve}, {settings.epochs} epochs.")
        print("The paper's 26 and 29 are not in release 1.0.0; our 24 and 38 are not in its table.")


if __name__ == "__main__":
    main()
