"""Commands on one case: show, convert, sweep, verify."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from interpbench_jax.cli.certify import summarize
from interpbench_jax.cli.console import (
    PACKAGED,
    CaseArgument,
    Exit,
    JsonOption,
    RepoOption,
    RevisionOption,
    load,
    print_json,
    progress,
)

if TYPE_CHECKING:
    from interpbench_jax.case import Case
    from interpbench_jax.sites import Edge, Node
    from interpbench_jax.sweeps import SweepResult


def show(
    case: CaseArgument,
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a case: its model, its vocabulary, its circuit, where it comes from, its certificate."""
    from interpbench_jax.circuit import UNIVERSES, universe
    from interpbench_jax.report import case_table, circuit_table, circuit_tree

    loaded = load(case, repo, revision)
    certificate = summarize(case, repo, loaded)
    config, circuit = loaded.config, loaded.circuit
    parameters = sum(array.size for array in loaded.weights.values())
    dtype = next(iter(loaded.weights.values())).dtype
    edges = [] if circuit is None else [(str(e.src), str(e.dst)) for e in circuit.edges]
    sizes = {
        name: (
            0 if circuit is None else len(circuit.in_universe(name)),
            len(universe(name, config.n_layers, config.n_heads).edges),
        )
        for name in UNIVERSES
    }
    if as_json:
        print_json(
            {
                "case_id": loaded.case_id,
                "task_description": loaded.task_description,
                "vocab": loaded.vocab,
                "config": asdict(config),
                "parameters": parameters,
                "dtype": str(dtype),
                "circuit": edges,
                "circuit_edges_by_universe": {
                    k: {"in_circuit": a, "of": b} for k, (a, b) in sizes.items()
                },
                "provenance": dict(loaded.provenance),
                "certificate": certificate.values,
            }
        )
        return
    facts = {
        "task": loaded.task_description or "not known",
        "model": f"{config.n_layers} layers, {config.n_heads} heads, d_model {config.d_model}, "
        f"d_head {config.d_head}, d_mlp {config.d_mlp}, {config.act_fn}, {config.attention_dir}, "
        f"normalization {config.normalization_type}",
        "weights": f"{parameters:,} numbers, {dtype}",
        "inputs": f"up to {config.n_ctx} positions, {config.d_vocab} tokens"
        + (f": {' '.join(loaded.vocab)}" if loaded.vocab else ""),
        "output": "a number" if config.is_regression else f"{config.d_vocab_out} classes",
        "circuit": "none given"
        if circuit is None
        else ", ".join(f"{a} of {b} edges ({name})" for name, (a, b) in sizes.items()),
        "from": json.dumps({k: v for k, v in loaded.provenance.items() if k != "training_args"}),
        "certificate": certificate.text,
    }
    console = Console()
    facts.update(_task_facts(loaded))
    console.print(case_table(f"Case {loaded.case_id}", facts))
    if circuit is not None:
        console.print(circuit_tree(circuit))
    if edges:
        console.print(circuit_table(edges))


def convert(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="As PATH|ID elsewhere.", show_default=False)
    ],
    destination: Annotated[
        Path, typer.Argument(metavar="DST", help="The folder to write.", show_default=False)
    ],
    layout: Annotated[
        Literal["ours", "upstream", "upstream-v1"],
        typer.Option("--to", help="The layout: ours, or upstream's current or 1.0.0's."),
    ] = "ours",
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a case as model.safetensors, config.json and circuit.json, or as upstream does.

    Upstream's files are for PyTorch: TransformerLens below version 4 loads them.
    """
    loaded = load(source, repo, revision)
    if layout == "ours":
        folder = loaded.save(destination)
    else:
        from conversion.to_torch import write_upstream

        upstream_layout = "v1" if layout == "upstream-v1" else "current"
        folder = write_upstream(loaded, destination, layout=upstream_layout)
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    if as_json:
        print_json({"case_id": loaded.case_id, "directory": str(folder), "files": files})
        return
    written = ", ".join(f"{name} ({size:,} bytes)" for name, size in files.items())
    Console().print(f"Case {loaded.case_id} written to {folder}: {written}", highlight=False)


def sweep(
    case: CaseArgument,
    nodes: Annotated[bool, typer.Option("--nodes/--edges", help="What to patch.")] = False,
    ablation: Annotated[
        Literal["resample", "mean", "zero"], typer.Option(help="What takes a node's place.")
    ] = "resample",
    metric: Annotated[
        Literal["kl", "cross_entropy", "l2", "mae", "logit_diff", "accuracy"] | None,
        typer.Option(help="How much worse is measured.", show_default="kl, or l2 for a regression"),
    ] = None,
    universe: Annotated[
        Literal["qkv", "qkv-merged", "head", "head-no-embed"],
        typer.Option(help="Which edges, or the sources of which."),
    ] = "qkv",
    n: Annotated[int, typer.Option("--n", help="How many pairs of inputs.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the inputs.", min=0)] = 0,
    top: Annotated[int, typer.Option(help="How many effects to show; 0 for all.", min=0)] = 20,
    max_bytes: Annotated[
        int | None,
        typer.Option(
            help="Memory that the patched runs may take.", min=1, show_default="32 MiB on a CPU"
        ),
    ] = None,
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Patch every edge (or node) of a case and compare with its circuit."""
    from interpbench_jax.inputs import uniform_pairs
    from interpbench_jax.sweeps import sweep_edges, sweep_nodes

    loaded = load(case, repo, revision)
    pairs = uniform_pairs(loaded, n, seed)
    function = sweep_nodes if nodes else sweep_edges
    with progress("patching", hidden=as_json) as report:
        started = time.perf_counter()
        result = function(
            loaded.model,
            pairs.clean,
            pairs.corrupted,
            universe=universe,
            ablation=ablation,
            metric=metric,
            max_bytes=max_bytes,
            progress=report,
        )
        seconds = time.perf_counter() - started
    if as_json:
        from interpbench_jax.report import sweep_as_json

        found = sweep_as_json(result, loaded.circuit)
        inputs = {"inputs": pairs.description, "seconds": seconds}
        print_json({"case_id": loaded.case_id, **inputs, **found})
    else:
        _print_sweep(loaded, result, pairs.description, seconds, top)


def verify(
    path: CaseArgument,
    oracle: Annotated[
        Path,
        typer.Option("--oracle", help="TransformerLens's activations (.npz).", show_default=False),
    ],
    limit: Annotated[float, typer.Option(help="The largest error in float64 that passes.")] = 1e-12,
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Certify a conversion: the worst relative error at every hook.

    Exits with 1 where an error in float64 is above the limit. float32 is shown beside it: there
    a softmax turns the rounding of large scores into errors that no implementation avoids.
    """
    from conversion.verify import certify_conversion, read_oracle
    from interpbench_jax.report import certificate_table
    from interpbench_jax.report.tables import ErrorRow

    certificate = certify_conversion(load(path, repo, revision), read_oracle(oracle))
    passed = certificate.worst64 <= limit
    if as_json:
        print_json({"passed": passed, "limit": limit, **asdict(certificate)})
    else:
        rows = [
            ErrorRow(name, error, certificate.float32[name])
            for name, error in certificate.float64.items()
        ]
        console = Console()
        console.print(certificate_table(rows, limit))
        console.print(
            f"{certificate.n_inputs} inputs, {certificate.n_edges} edge patches, "
            f"{certificate.n_nodes} node patches; largest attention score "
            f"{certificate.largest_score:.0f}.\n"
            f"Worst error {certificate.worst64:.1e} in float64 (limit {limit:.0e}), "
            f"{certificate.worst32:.1e} in float32: {'passed' if passed else 'FAILED'}.",
            highlight=False,
        )
    raise typer.Exit(Exit.DONE if passed else Exit.CHECK_FAILED)


def _task_facts(case: "Case") -> dict[str, str]:
    """What our declaration of the task adds, for the cases that have one."""
    from interpbench_jax.cases import CASES

    task = CASES.get(case.case_id)
    if task is None:
        return {}
    aligned = []
    for node, targets in task.alignment.items():
        variables = task.lowering.variables_of(node)
        names = ", ".join(variable.name or type(variable).__name__ for variable in variables)
        aligned.append(f"{names} at {', '.join(map(str, targets))}")
    facts = {"program": str(task.program), "alignment": "; ".join(aligned), "tier": task.tier}
    return facts | ({"note": task.note} if task.note else {})


def _print_sweep(
    case: "Case",
    result: "SweepResult[Edge] | SweepResult[Node]",
    inputs: str,
    seconds: float,
    top: int,
) -> None:
    from interpbench_jax.report import areas_by_universe, auc_table, effect_rows, effects_table

    rows = effect_rows(result, case.circuit)
    what = "edges" if len(rows[0].ends) == 2 else "nodes"
    swept = f"{len(rows)} {what} ({result.universe})"
    title = f"Case {case.case_id}: {swept}, {result.ablation} ablation, effect as {result.metric}"
    console = Console()
    console.print(effects_table(title, rows, top or len(rows)))
    areas = areas_by_universe(result, case.circuit)
    if areas:
        console.print(auc_table("Effects against the known circuit", areas))
    else:
        console.print("The case's files tell no circuit, so there is nothing to compare with.")
    runs = len(rows) * result.n_inputs
    console.print(
        f"Inputs: {inputs}. {len(rows)} edits x {result.n_inputs} inputs in {seconds:.1f} s "
        f"({runs / seconds:,.0f} patched runs per second, compilation included).",
        highlight=False,
    )
