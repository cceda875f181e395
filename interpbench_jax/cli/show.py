"""The `show` command: what is known about one case."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench_jax.cli.certify import Summary, summarize
from interpbench_jax.cli.console import (
    PACKAGED,
    CaseArgument,
    JsonOption,
    RepoOption,
    RevisionOption,
    is_folder,
    load,
    print_json,
)
from interpbench_jax.cli.terminal import say
from interpbench_jax.cli.terminal import show as show_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interpbench_jax.cases import Task
    from interpbench_jax.circuit import Circuit
    from interpbench_jax.config import TransformerConfig

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
    """Show a case: its model, vocabulary, circuit, origin and certificate.

    A declared task without a packaged model is shown as declared.
    """
    from interpbench_jax.report import case_table, circuit_table, circuit_tree

    known = _find(case, repo, revision)
    if plot is not None:
        _draw(known, plot)
    if as_json:
        print_json(_as_json(known))
        return
    show_parts(case_table(f"Case {known.case_id}", _rows(known, provenance)))
    if known.circuit is not None:
        show_parts(circuit_tree(known.circuit))
    if known.edges:
        show_parts(circuit_table(known.edges))


@dataclass(frozen=True)
class _Weights:
    """What is known about a model's weights: how many numbers, and where they come from."""

    parameters: int
    dtype: str
    provenance: "Mapping[str, object]"
    certificate: Summary


@dataclass(frozen=True)
class _Known:
    """What is known about a case; without `weights`, only what its task declares."""

    case_id: str
    description: str
    vocab: tuple[str, ...] | None
    config: "TransformerConfig"
    circuit: "Circuit | None"
    task: "Task | None"
    weights: _Weights | None

    @cached_property
    def edges(self) -> list[tuple[str, str]]:
        """The circuit's edges, by the names of their ends."""
        return (
            [] if self.circuit is None else [(str(e.src), str(e.dst)) for e in self.circuit.edges]
        )

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """By universe: how many edges of the circuit it has, and how many edges in all."""
        from interpbench_jax.universes import UNIVERSES, universe

        return {
            name: (
                0 if self.circuit is None else len(self.circuit.in_universe(name)),
                len(universe(name, self.config.n_layers, self.config.n_heads).edges),
            )
            for name in UNIVERSES
        }


def _find(case: str, repo: str, revision: str | None) -> _Known:
    """Load the case that the command line names, or find its task if no model is packaged."""
    from interpbench_jax.cases import task_of

    task = _task_without_model(case, repo, revision)
    if task is not None:
        return _Known(
            case_id=task.case_id,
            description=task.description,
            vocab=task.tokens,
            config=task.config,
            circuit=task.complete_circuit,
            task=task,
            weights=None,
        )
    loaded = load(case, repo, revision)
    return _Known(
        case_id=loaded.case_id,
        description=loaded.task_description,
        vocab=loaded.vocab,
        config=loaded.config,
        circuit=loaded.circuit,
        task=task_of(loaded.case_id),
        weights=_Weights(
            parameters=sum(array.size for array in loaded.weights.values()),
            dtype=str(next(iter(loaded.weights.values())).dtype),
            provenance=loaded.provenance,
            certificate=summarize(case, repo, loaded),
        ),
    )


def _task_without_model(case: str, repo: str, revision: str | None) -> "Task | None":
    """The declared task that a name means, if a packaged model is asked for and there is none."""
    from interpbench_jax.cases import task_of
    from interpbench_jax.loading import find_id, packaged_cases

    if is_folder(case) or repo != PACKAGED or revision is not None:
        return None
    case_id = find_id(case)
    return None if case_id in packaged_cases() else task_of(case_id)


def _as_json(known: _Known) -> dict[str, object]:
    """All that is known, for programs; what a case without a model lacks is None."""
    from interpbench_jax.cases.roles import roles_by_name

    weights = known.weights
    return {
        "case_id": known.case_id,
        "task_description": known.description,
        "vocab": known.vocab,
        "roles": {} if known.task is None else roles_by_name(known.task),
        "config": asdict(known.config),
        "parameters": None if weights is None else weights.parameters,
        "dtype": None if weights is None else weights.dtype,
        "circuit": known.edges,
        "circuit_edges_by_universe": {
            name: {"in_circuit": found, "of": every} for name, (found, every) in known.sizes.items()
        },
        "provenance": None if weights is None else dict(weights.provenance),
        "certificate": None if weights is None else weights.certificate.values,
    }


def _rows(known: _Known, everything: bool) -> dict[str, str | tuple[str, ...]]:
    """The lines for people, by their names; with all of the weights' origin if asked."""
    config, weights = known.config, known.weights
    circuit = ", ".join(
        f"{found} of {every} edges ({name})" for name, (found, every) in known.sizes.items()
    )
    rows: dict[str, str | tuple[str, ...]] = {
        "task": known.description or "not known",
        "model": f"{config.n_layers} layers, {config.n_heads} heads, d_model {config.d_model}, "
        f"d_head {config.d_head}, d_mlp {config.d_mlp}, {config.act_fn}, {config.attention_dir}, "
        f"normalization {config.normalization_type}",
        "weights": _no_weights(known.case_id)
        if weights is None
        else f"{weights.parameters:,} numbers, {weights.dtype}",
        "inputs": f"up to {config.n_ctx} positions, {config.d_vocab} tokens"
        + (f": {' '.join(known.vocab)}" if known.vocab else ""),
        "padding": _padding(config),
        "output": "a number" if config.is_regression else f"{config.d_vocab_out} classes",
        "circuit": "none given" if known.circuit is None else circuit,
    }
    if weights is not None:
        rows["from"] = _origin(weights.provenance, everything)
        rows["certificate"] = weights.certificate.text
    return rows | ({} if known.task is None else _task_rows(known.task))


def _no_weights(case_id: str) -> str:
    """Say that no model is packaged, why, and how to get one."""
    from interpbench_jax.loading import why_untrained

    reason = why_untrained(case_id)
    because = "" if reason is None else f" ({reason})"
    return f"none packaged{because}; `interpbench train {case_id} --out DIR` trains a model"


def _padding(config: "TransformerConfig") -> str:
    """Describe how a model treats padding."""
    if config.pad_token is not None:
        return "not attended to; a padded input gives the same outputs as the input alone"
    if config.attention_dir == "causal":
        return "after the input, where causal attention does not see it"
    return "attended to like any token, as in InterpBench's release"


def _origin(provenance: "Mapping[str, object]", everything: bool) -> str:
    """Describe where the weights come from: in short, or everything as JSON."""
    if everything:
        return json.dumps(dict(provenance))
    known = [f"{key} {provenance[key]}" for key in _ORIGIN if provenance.get(key) is not None]
    source = str(provenance.get("source", "not known"))
    return f"{', '.join([source, *known])} (--provenance shows all)"


def _task_rows(task: "Task") -> dict[str, str | tuple[str, ...]]:
    """The lines that our declaration of the task adds."""
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


def _draw(known: _Known, path: Path) -> None:
    """Draw a case's circuit into a file."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"Expected --plot to be a .png or .svg file, got {path}.")
    if known.circuit is None:
        raise ValueError(f"Expected a case with a known circuit to draw; {known.case_id} has none.")
    from interpbench_jax.pictures.circuits import encode_circuit
    from interpbench_jax.storage import write_file

    title = f"Case {known.case_id}: {known.description or 'task not known'}"
    write_file(path, encode_circuit(known.circuit, universe="qkv", title=title, kind=kind))
    say(f"Drew the circuit into {path}.", stderr=True)
