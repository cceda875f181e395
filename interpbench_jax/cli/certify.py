"""The `certify` command, and the summary of a certificate that other commands show."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from interpbench_jax.bars import BARS, Bars
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
    progress,
)
from interpbench_jax.cli.terminal import say, show
from interpbench_jax.storage import make_folder
from interpbench_jax.texts import count

if TYPE_CHECKING:
    from interpbench_jax.case import Case
    from interpbench_jax.certificates import Certificate


_UNITS = {
    "kl": "nats (KL)",
    "l2": "the output's unit (L2)",
    "logit_diff": "logits (logit difference)",
}


def certify(
    case: CaseArgument,
    n: Annotated[
        int, typer.Option("--n", help="Number of input pairs.", min=1, max=1_000_000)
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Random seed for sampling inputs.", min=0)] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write certificate.json into.",
            show_default="the case's folder, if one is given",
        ),
    ] = None,
    bar: Annotated[
        float, typer.Option("--min", help="The lowest accuracy that passes.", min=0, max=1)
    ] = BARS.share,
    outside: Annotated[
        float,
        typer.Option(
            help="The largest effect of an edge outside the circuit that passes, as a share of "
            "the median effect of the circuit's edges.",
            min=0,
            max=1,
        ),
    ] = BARS.outside,
    clearance: Annotated[
        float,
        typer.Option(
            help="The smallest ratio that passes of the circuit's weakest edge to the strongest "
            "edge outside it.",
            min=0,
        ),
    ] = BARS.clearance,
    repo: RepoOption = PACKAGED,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
    no_cache: NoCacheOption = False,
) -> None:
    """Certify a model's circuit, by the accuracy under every interchange and by every edge.

    Writes certificate.json beside the weights if a folder is given. Exits with 1 and the reasons
    if the model does not have the circuit: an accuracy on held-out inputs is below --min, an
    edge outside the circuit has an effect, or an edge of the circuit has none.
    """
    use_cache(no_cache)
    from interpbench_jax.certificates.measure import certify as measure

    bars = Bars(share=bar, outside=outside, clearance=clearance)

    loaded = load(case, repo, revision)
    folder = out if out is not None else _given_folder(case)
    if folder is not None:
        make_folder(folder)
    with progress("certifying", hidden=as_json) as report:
        certificate = measure(loaded, n=n, seed=seed, progress=report)
    written = None if folder is None else certificate.save(folder)
    failures = certificate.failures(bars)
    if as_json:
        print_json(
            {
                "passed": not failures,
                "failures": list(failures),
                "bars": asdict(bars),
                "written": None if written is None else str(written),
                "certificate": json.loads(certificate.to_json()),
            }
        )
    else:
        _print(certificate, bars, written)
    raise typer.Exit(Exit.CHECK_FAILED if failures else Exit.DONE)


class Summary(NamedTuple):
    """A short summary of a case's certificate.

    Attributes:
        text: the summary in one line.
        values: the same as plain JSON values; None if there is no certificate.
    """

    text: str
    values: dict[str, object] | None


def summarize(case: str, repo: str, loaded: "Case") -> Summary:
    """Summarize the certificate beside a case's weights, even if it is missing or unreadable."""
    from interpbench_jax.certificates import read_certificate
    from interpbench_jax.certificates.tables import show_down
    from interpbench_jax.weights import digest_weights

    folder = _folder(case, repo)
    try:
        if folder is None:
            raise FileNotFoundError
        certificate = read_certificate(folder)
    except FileNotFoundError:
        return Summary("none; `interpbench certify` writes one", None)
    except ValueError as error:
        return Summary(f"not readable: {error}", {"error": str(error)})
    failures = certificate.failures()
    values: dict[str, object] = {
        "is_of_these_weights": certificate.weights_sha256 == digest_weights(loaded.weights),
        "n": certificate.n,
        "accuracy": certificate.accuracy,
        "lowest_iia": certificate.lowest_iia,
        "lowest_joint_iia": certificate.lowest_joint,
        "lowest_edge_accuracy": certificate.lowest_edge,
        "lowest_strict_accuracy": certificate.lowest_strict,
        "passed": not failures,
        "failures": list(failures),
    }
    if not values["is_of_these_weights"]:
        return Summary("for different weights; `interpbench certify` writes a new one", values)
    verdict = "passed" if not failures else f"FAILED in {count(len(failures), 'point')}"
    text = (
        f"{verdict}: accuracy {show_down(certificate.accuracy)}, lowest IIA "
        f"{show_down(certificate.lowest_iia)}, lowest strict accuracy "
        f"{show_down(certificate.lowest_strict)} on {certificate.n:,} held-out pairs"
    )
    return Summary(text, values)


def _folder(case: str, repo: str) -> Path | None:
    """Return the folder of a case named on the command line; None if it is on the Hub."""
    given = _given_folder(case)
    if given is not None or repo != PACKAGED:
        return given
    from interpbench_dataset.loading import packaged_folder
    from interpbench_dataset.models import model_path

    return packaged_folder() / model_path(case)


def _given_folder(case: str) -> Path | None:
    """Return the folder with a case's files; None if the command line names an id instead."""
    folder = Path(case).expanduser()
    if not folder.is_dir():
        return None
    from interpbench_jax.loading import case_directory

    return case_directory(folder, Path(os.path.realpath(folder)).name)


def _print(certificate: "Certificate", bars: Bars, written: Path | None) -> None:
    from interpbench_jax.certificates.tables import (
        certified_edges_table,
        certified_nodes_table,
        separations_table,
    )
    from interpbench_jax.report import case_table

    unit = _UNITS.get(certificate.metric, certificate.metric)
    show(
        case_table(f"Certificate of case {certificate.case_id}", _facts(certificate)),
        certified_nodes_table(certificate, unit, bars.share),
        certified_edges_table(certificate, unit),
        separations_table(certificate),
    )
    failures = certificate.failures(bars)
    for failure in failures:
        say(f"FAILED: {failure}")
    verdict = "passed" if not failures else f"FAILED in {count(len(failures), 'point')}"
    where = "Not written; use --out DIR." if written is None else f"Written to {written}."
    say(f"Lowest accuracy: {certificate.lowest:.6f}. Certificate {verdict}. {where}")


def _facts(certificate: "Certificate") -> dict[str, str]:
    from interpbench_jax.certificates.tables import show_down

    alone, edges = certificate.circuit_alone, certificate.edges
    held = certificate.split_inputs
    facts = {
        "inputs": f"{certificate.n:,} pairs from the test split (seed {certificate.seed}), "
        f"{certificate.distinct_inputs:,} distinct"
        + ("" if held is None else f" of the {held:,} in the split"),
        "accuracy": f"{show_down(certificate.accuracy)} of outputs, "
        f"{show_down(certificate.sequence_accuracy)} of whole sequences",
        "variables interchanged": f"lowest accuracy {show_down(certificate.lowest_iia)} one at a "
        f"time, {show_down(certificate.lowest_joint)} in {len(certificate.joint_iia)} sets",
        "edges of the circuit": f"lowest accuracy {show_down(certificate.lowest_edge)}, "
        "interchanged one at a time",
        "all other nodes replaced": f"accuracy {show_down(alone.nodes_mean)} with their mean, "
        f"{show_down(alone.nodes_resample)} resampled",
        "all other edges replaced": f"accuracy {show_down(alone.edges_mean)} with their mean, "
        f"{show_down(alone.edges_resample)} resampled",
    }
    names = {"effect": certificate.metric, "centred": "centred logits"}
    for measure, areas in edges.auc.items():
        shown = (
            f"{'not defined' if area is None else show_down(area)} ({name})"
            for name, area in areas.items()
        )
        facts[f"ROC-AUC of edges by {names.get(measure, measure)}"] = ", ".join(shown)
    constant = ", ".join(map(str, edges.constant("head")))
    facts["constant edges (head)"] = constant or "none"
    facts["weights"] = f"sha256 {certificate.weights_sha256}"
    return facts
