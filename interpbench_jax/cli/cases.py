"""Commands for one case: show, convert, verify."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from interpbench_jax.cli.certify import summarize
from interpbench_jax.cli.compile_cache import NoCacheOption, use_cache
from interpbench_jax.cli.console import (
    PACKAGED,
    CaseArgument,
    Exit,
    JsonOption,
    RepoOption,
    RevisionOption,
    load,
    print_json,
)
from interpbench_jax.cli.terminal import say
from interpbench_jax.cli.terminal import show as show_parts
from interpbench_jax.storage import make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interpbench_jax.case import Case
    from interpbench_jax.cases import Task

MIB_FILE = "interpbench_graph.json"
# The keys that a short description of a case's origin shows.
_ORIGIN = ("repo_id", "commit", "layout", "seed", "epoch")


def show(
    case: CaseArgument,
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Show all that is known about the weights' origin.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw the circuit into a .png or .svg file.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a case: its model, vocabulary, circuit, origin and certificate."""
    from interpbench_jax.cases import task_of
    from interpbench_jax.cases.roles import roles_by_name
    from interpbench_jax.report import case_table, circuit_table, circuit_tree
    from interpbench_jax.universes import UNIVERSES, universe

    loaded = load(case, repo, revision)
    task = task_of(loaded.case_id)
    if plot is not None:
        _draw(loaded, plot)
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
                "roles": {} if task is None else roles_by_name(task),
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
    facts: dict[str, str | tuple[str, ...]] = {
        "task": loaded.task_description or "not known",
        "model": f"{config.n_layers} layers, {config.n_heads} heads, d_model {config.d_model}, "
        f"d_head {config.d_head}, d_mlp {config.d_mlp}, {config.act_fn}, {config.attention_dir}, "
        f"normalization {config.normalization_type}",
        "weights": f"{parameters:,} numbers, {dtype}",
        "inputs": f"up to {config.n_ctx} positions, {config.d_vocab} tokens"
        + (f": {' '.join(loaded.vocab)}" if loaded.vocab else ""),
        "padding": _padding(loaded),
        "output": "a number" if config.is_regression else f"{config.d_vocab_out} classes",
        "circuit": "none given"
        if circuit is None
        else ", ".join(f"{a} of {b} edges ({name})" for name, (a, b) in sizes.items()),
        "from": _origin(loaded.provenance, provenance),
        "certificate": certificate.text,
    }
    facts.update(_task_facts(task))
    show_parts(case_table(f"Case {loaded.case_id}", facts))
    if circuit is not None:
        show_parts(circuit_tree(circuit))
    if edges:
        show_parts(circuit_table(edges))


def _draw(case: "Case", path: Path) -> None:
    """Draw a case's circuit into a file."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"Expected --plot to be a .png or .svg file, got {path}.")
    if case.circuit is None:
        raise ValueError(f"Expected a case with a known circuit to draw; {case.case_id} has none.")
    from interpbench_jax.pictures.circuits import encode_circuit
    from interpbench_jax.storage import write_file

    title = f"Case {case.case_id}: {case.task_description or 'task not known'}"
    write_file(path, encode_circuit(case.circuit, universe="qkv", title=title, kind=kind))
    say(f"Drew the circuit into {path}.", stderr=True)


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="A folder with a case's files, or a case id.", show_default=False
        ),
    ],
    destination: Annotated[
        Path, typer.Argument(metavar="DST", help="The folder to write to.", show_default=False)
    ],
    layout: Annotated[
        Literal["ours", "upstream", "upstream-v1", "mib"],
        typer.Option(
            "--to",
            help="File layout: ours, upstream's current one, or that of its release 1.0.0; mib: "
            f"the circuit alone, as MIB's {MIB_FILE}.",
        ),
    ] = "ours",
    tokens: Annotated[
        Literal["all", "prompts"],
        typer.Option(
            help="For upstream's ioi and ioi_next_token: whether to keep every token of the file, "
            "or only those of the prompts, as our own models do."
        ),
    ] = "all",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a different model in DST.")
    ] = False,
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a case as model.safetensors, config.json and circuit.json, or in upstream's layout.

    Upstream's files are for PyTorch: TransformerLens before version 4 loads them.
    """
    make_folder(destination)
    loaded = load(source, repo, revision, tokens)
    if not overwrite:
        _check_empty(destination, loaded)
    if layout == "ours":
        folder = loaded.save(destination)
    elif layout == "mib":
        folder = _write_mib_graph(loaded, destination)
    else:
        from interpbench_conversion.to_torch import write_upstream

        upstream_layout = "v1" if layout == "upstream-v1" else "current"
        folder = write_upstream(loaded, destination, layout=upstream_layout)
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    if as_json:
        print_json({"case_id": loaded.case_id, "directory": str(folder), "files": files})
        return
    written = ", ".join(f"{name} ({size:,} bytes)" for name, size in files.items())
    say(f"Case {loaded.case_id} written to {folder}: {written}")


def _write_mib_graph(case: "Case", folder: Path) -> Path:
    """Write a case's circuit as MIB names it; return the folder."""
    from interpbench_jax.scores import mib_graph
    from interpbench_jax.storage import write_file

    if case.circuit is None:
        raise ValueError(f"Expected a case with a known circuit; {case.case_id} has none.")
    write_file(folder / MIB_FILE, mib_graph(case.config, circuit=case.circuit).to_json())
    return folder


def verify(
    path: CaseArgument,
    oracle: Annotated[
        Path,
        typer.Option(
            "--oracle", help="Activations from TransformerLens (.npz).", show_default=False
        ),
    ],
    limit: Annotated[float, typer.Option(help="The largest float64 error that passes.")] = 1e-12,
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Certify a conversion by the worst relative error at every hook.

    Exits with 1 if a float64 error is above the limit. float32 errors are shown for comparison:
    there, softmax turns the rounding of large scores into errors that no implementation avoids.
    """
    use_cache(no_cache)
    from interpbench_conversion.verify import certify_conversion, read_oracle
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
        show_parts(certificate_table(rows, limit))
        say(
            f"{certificate.n_inputs} inputs, {certificate.n_edges} edge patches, "
            f"{certificate.n_nodes} node patches; largest attention score "
            f"{certificate.largest_score:.0f}.\n"
            f"Worst error {certificate.worst64:.1e} in float64 (limit {limit:.0e}), "
            f"{certificate.worst32:.1e} in float32: {'passed' if passed else 'FAILED'}."
        )
    raise typer.Exit(Exit.DONE if passed else Exit.CHECK_FAILED)


def _padding(case: "Case") -> str:
    """Describe how the model treats padding."""
    if case.config.pad_token is not None:
        return "not attended to; a padded input gives the same outputs as the input alone"
    if case.config.attention_dir == "causal":
        return "after the input, where causal attention does not see it"
    return "attended to like any token, as in InterpBench's release"


def _check_empty(folder: Path, case: "Case") -> None:
    """Refuse a folder with a different model, which would be lost.

    Raises:
        FileExistsError: if the folder has one.
    """
    from interpbench_jax.case import WEIGHTS_FILE
    from interpbench_jax.storage import digest_file
    from interpbench_jax.weights import digest_weights

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        return
    is_same = digest_file(path) == digest_weights(case.weights)
    if not is_same:
        raise FileExistsError(
            f"Expected a folder without a different model to write case {case.case_id} to, got "
            f"{folder}, whose {WEIGHTS_FILE} holds other weights; name another folder, or replace "
            "them with --overwrite."
        )


def _origin(provenance: "Mapping[str, object]", everything: bool) -> str:
    """Describe where the weights come from: in short, or everything as JSON."""
    if everything:
        return json.dumps(dict(provenance))
    known = [f"{key} {provenance[key]}" for key in _ORIGIN if provenance.get(key) is not None]
    source = str(provenance.get("source", "not known"))
    return f"{', '.join([source, *known])} (--provenance shows all)"


def _task_facts(task: "Task | None") -> dict[str, str | tuple[str, ...]]:
    """Return what our declaration of the task adds; nothing if the task is not declared."""
    if task is None:
        return {}
    roles = tuple(
        f"{', '.join(map(str, targets))}: {' '.join(role.words for role in task.roles[node])}"
        for node, targets in task.alignment.items()
    )
    return {
        "program": tuple(task.program_text.split("\n")),
        "roles": roles,
        "tier": task.tier,
        **({"note": task.note} if task.note else {}),
    }
