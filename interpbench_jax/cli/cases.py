"""Commands for one case's files: convert, verify."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

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
    from interpbench_jax.case import Case

MIB_FILE = "interpbench_graph.json"


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
