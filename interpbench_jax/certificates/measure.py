"""Certify a trained model: measure it on held-out inputs, with and without interventions."""

import numpy as np

from interpbench_jax.case import Case
from interpbench_jax.cases import Task
from interpbench_jax.cases.sequences import LISTABLE
from interpbench_jax.cases.truth import TRUTHS
from interpbench_jax.certificates.alone import (
    HeldOut,
    measure_alone,
)
from interpbench_jax.certificates.certificate import Certificate
from interpbench_jax.certificates.edges import check_edges
from interpbench_jax.certificates.nodes import measure_nodes
from interpbench_jax.certificates.rounding import round_share
from interpbench_jax.names import Progress
from interpbench_jax.training.evaluation import prepare_examination
from interpbench_jax.training.versions import library_versions
from interpbench_jax.weights import digest_weights

_SPLIT = "test"
_EDGE_PAIRS = 1_000
# The edge sweep of a large model would take hours on a CPU, so weights times pairs is bounded.
_EDGE_WORK = 300_000_000
_STEPS = 4


def certify(
    case: Case,
    *,
    n: int = 10_000,
    seed: int = 1,
    task: Task | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Measure whether a model has its claimed circuit.

    Everything is measured on pairs of inputs from the test split, on which no model is trained or
    selected. The edge sweep uses the first 1,000 pairs (fewer for a model of more than 300,000
    weights; see `Certificate.edges.n`), everything else all of them. Effects are in the unit of
    `task.metric`. The same case, `n` and seed give the same certificate on the same machine.

    Sources: interchange intervention accuracy, Geiger et al. 2022 (arXiv:2112.00826); strict
    accuracy and effects of nodes, Gupta et al. 2024 (arXiv:2407.14494, sections 3 and 4).

    Args:
        case: the case whose model is certified.
        n: number of pairs of a base and a source input. A small task has fewer distinct inputs
            (`Certificate.distinct_inputs`), which are then drawn repeatedly.
        seed: random seed for drawing the pairs.
        task: the task to solve; the default is the one that is declared for the case's id.
        progress: function called with the number of finished steps and the total number.

    Raises:
        ValueError: if no task is declared for the case; its model, tokens or circuit are not the
            task's; the task's model is too small for its program; `n` is not positive; the seed
            is negative; or the test split has fewer than two inputs.
        TypeError: if `n` or the seed is not an int.
    """
    if isinstance(n, int) and n < 1:
        raise ValueError(f"Expected at least 1 pair, got n={n}.")
    task = case.task if task is None else task
    _check_fits(case, task)
    report = progress or _ignore
    report(0, _STEPS)
    pairs = _draw(task, n, seed)
    model = case.model
    found = prepare_examination(task, pairs.base, pairs.source)(model)
    report(1, _STEPS)
    nodes = measure_nodes(model, pairs)
    report(2, _STEPS)
    whole, alone = measure_alone(model, task, pairs)
    report(3, _STEPS)
    edges = check_edges(model, task, pairs.first(_edge_pairs(case)))
    report(_STEPS, _STEPS)
    names = task.component_names
    return Certificate(
        case_id=case.case_id,
        weights_sha256=digest_weights(case.weights),
        n=n,
        seed=seed,
        distinct_inputs=len(np.unique(pairs.base, axis=0)),
        split_inputs=_split_inputs(task),
        atol=pairs.atol if task.config.is_regression else None,
        leak=task.leak,
        accuracy=round_share(found.accuracy),
        sequence_accuracy=whole,
        iia={names[node]: round_share(share) for node, share in found.iia.items()},
        joint_iia={
            " + ".join(names[node] for node in nodes): round_share(share)
            for nodes, share in found.joint.items()
        },
        edge_accuracy={
            " + ".join(map(str, task.edge_alignment[edge])): round_share(share)
            for edge, share in found.edges.items()
        },
        strict_accuracy={str(node): round_share(share) for node, share in found.strict.items()},
        alignment={
            names[node]: tuple(str(each) for each in aligned)
            for node, aligned in task.alignment.items()
        },
        metric=pairs.metric,
        nodes=nodes,
        circuit_alone=alone,
        edges=edges,
        versions=library_versions(),
    )


def _check_fits(case: Case, task: Task) -> None:
    for name in ("n_layers", "n_heads", "d_vocab", "d_vocab_out"):
        expected, found = getattr(task.config, name), getattr(case.config, name)
        if expected != found:
            raise ValueError(
                f"Case {case.case_id!r}: expected a model with {name} {expected}, as task "
                f"{task.case_id!r} declares, got {found}; pass the task that it was trained on."
            )
    if case.config.n_ctx < task.max_seq_len:
        raise ValueError(
            f"Case {case.case_id!r}: expected a model with at least {task.max_seq_len} positions, "
            f"as task {task.case_id!r} needs, got {case.config.n_ctx}."
        )
    if case.vocab is not None and case.vocab != task.tokens:
        raise ValueError(
            f"Case {case.case_id!r}: expected the tokens of task {task.case_id!r} in the order of "
            f"their ids, {task.tokens}, got {case.vocab}."
        )
    truths = [circuit.in_universe("head") for circuit in map(task.truth, TRUTHS)]
    if case.circuit is not None and case.circuit.in_universe("head") not in truths:
        raise ValueError(
            f"Case {case.case_id!r}: expected the circuit of task {task.case_id!r}, got another; "
            "pass the task whose program the model was trained on."
        )


def _draw(task: Task, n: int, seed: int) -> HeldOut:
    pairs = task.sample(n, seed, split=_SPLIT, counterfactual="random")
    base, source = pairs.input_ids, pairs.corrupted_input_ids
    if (base == source).all(axis=1).any():
        raise ValueError(
            f"Task {task.case_id!r}: expected at least two inputs in the {_SPLIT} split to "
            "interchange, got one; give the task more tokens or positions."
        )
    return HeldOut(base, source, pairs.metric_targets, task.metric, task.recipe.atol)


def _edge_pairs(case: Case) -> int:
    """The number of pairs that the edge sweep uses."""
    n_weights = sum(array.size for array in case.weights.values())
    return min(_EDGE_PAIRS, max(1, _EDGE_WORK // n_weights))


def _split_inputs(task: Task) -> int | None:
    if task.n_inputs > LISTABLE:
        return None
    return len(task.all_inputs(_SPLIT))


def _ignore(done: int, total: int) -> None:
    """Ignore the progress."""
