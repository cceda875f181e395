"""Commands for the declared tasks: list, sample."""

from typing import TYPE_CHECKING, Annotated

import typer

from interpbench_jax.cli.console import CounterfactualOption, JsonOption, print_json
from interpbench_jax.cli.terminal import show
from interpbench_jax.names import ReleaseName

if TYPE_CHECKING:
    from interpbench_jax.cases import Task
    from interpbench_jax.cases.health import TaskHealth


def list_cases(
    release: Annotated[
        ReleaseName | None,
        typer.Option(
            help="Release of InterpBench, or our pilot, whose tasks are listed.",
            show_default="all",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the tasks: what each computes, its shape, its circuit and its tier.

    Tasks with the same number in the column "circuit" have the same edges, the embedding not
    counted. Below a task stands what to know before drawing conclusions from it, such as variables
    whose interchange changes nothing. The last column says whether the weights are packaged, so
    that they load without a network.
    """
    from interpbench_jax.cases import CASES
    from interpbench_jax.cases.health import read_health
    from interpbench_jax.loading import packaged_cases
    from interpbench_jax.report import tasks_table

    packaged, health = packaged_cases(), read_health()
    rows = [
        _row(task, health[task.case_id], task.case_id in packaged)
        for task in CASES.values()
        if release is None or release in task.releases
    ]
    if as_json:
        print_json({"cases": rows})
        return
    show(tasks_table(rows))


def sample(
    case_id: Annotated[str, typer.Argument(metavar="ID", help="A case id.", show_default=False)],
    n: Annotated[int, typer.Option("-n", "--n", help="Number of pairs.", min=1, max=100_000)] = 5,
    seed: Annotated[int, typer.Option(help="Random seed for sampling pairs.", min=0)] = 0,
    counterfactual: CounterfactualOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw input pairs of a task, with the program's outputs."""
    from interpbench_jax.cases import find_task
    from interpbench_jax.report import pairs_table

    task = find_task(case_id)
    pairs = task.sample(n, seed, counterfactual=counterfactual)
    classes = task.classes

    def outputs(row: "list[float]") -> list[str]:
        # Positions that are not scored, such as that of BOS, have no output.
        return ["-"] * task.first_scored + [
            f"{value:.4g}" if classes is None else str(classes[int(value)])
            for value in row[task.first_scored :]
        ]

    rows = [
        {
            "input": list(task.decode(pairs.input_ids[i])),
            "output": outputs(pairs.target[i].tolist()),
            "corrupted_input": list(task.decode(pairs.corrupted_input_ids[i])),
            "corrupted_output": outputs(pairs.corrupted_target[i].tolist()),
        }
        for i in range(n)
    ]
    if as_json:
        kind = counterfactual or task.counterfactuals[0]
        print_json({"case_id": task.case_id, "seed": seed, "counterfactual": kind, "pairs": rows})
        return
    show(pairs_table(f"Case {task.case_id}: {task.description}", rows))


def _row(task: "Task", health: "TaskHealth", is_packaged: bool) -> dict[str, object]:
    config = task.config
    return {
        "case_id": task.case_id,
        "releases": list(task.releases),
        "task": task.description,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "d_model": config.d_model,
        "attention": config.attention_dir,
        "outputs": "a number" if task.classes is None else f"{len(task.classes)} classes",
        "circuit_edges": len(task.upstream_circuit.in_universe("head")),
        "circuit": health.circuit,
        "tier": task.tier,
        "flags": list(health.flags),
        "is_packaged": is_packaged,
    }
