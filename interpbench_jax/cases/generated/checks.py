"""Why a random task is of no use, worked out from its program before anything is trained."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from interpbench_jax.cases.generated.task import GeneratedTask
from interpbench_jax.cases.pairs import TaskPairs
from interpbench_jax.cases.truth import carried_differences
from interpbench_jax.circuit import Circuit
from interpbench_jax.sites import Edge, Node

N_PAIRS = 2048
LOWEST_COMPONENT = 0.05
LOWEST_EDGE = 0.01
HIGHEST_CLASS = 0.6
FEWEST_EDGES = 5


def find_problems(
    task: GeneratedTask, circuits: Iterable[Circuit] = (), n: int = N_PAIRS
) -> tuple[str, ...]:
    """A sentence for every reason to reject a random task; empty if there is none.

    A component must change 5 % of the scored outputs when it is interchanged, and an edge 1 %. What
    belongs to the second of two tasks must do so on the inputs that select it, and what selects
    must do so where one input of a pair selects each task. No class may have more than 60 % of the
    outputs, no output may be missing or a mixture, five edges must not start at the embedding, and
    the circuit must be new. Copies are exempt: a single one changes nothing.

    Args:
        task: the task; a part of one is judged by all inputs of the whole, and by its own circuit.
        circuits: known circuits, which the task's must differ from.
        n: the number of pairs of inputs to look at.
    """
    pairs = [task.whole.sample(n, 0)]
    if task.dials.tasks == 2:
        first, second = (each.sample(n, 0) for each in (task.first_task, task.second_task))
        one_of_each = replace(second, corrupted_input_ids=first.input_ids)
        pairs += [first, second, one_of_each]
    return (
        *_weak_parts(task, pairs),
        *_bad_outputs(task, pairs[0]),
        *_bad_circuit(task, circuits),
    )


def _weak_parts(task: GeneratedTask, pairs: list[TaskPairs]) -> Iterator[str]:
    """Components and edges that change too few outputs, on the inputs where they change most."""
    if task.dials.copies > 1:
        return
    model, names = task.high_level, task.component_names
    plain = [np.asarray(model.targets(each.input_ids)) for each in pairs]

    def largest(enough: float, node: Node | None = None, edge: Edge | None = None) -> float:
        """The largest share of outputs that change, or the first one that is enough."""
        found = 0.0
        for each, own in zip(pairs, plain, strict=True):
            swapped = model.targets(each.input_ids, each.corrupted_input_ids, node, edge)
            found = max(found, float((np.asarray(swapped) != own)[each.is_scored].mean()))
            if found >= enough:
                break
        return found

    for node in model.nodes:
        share = largest(LOWEST_COMPONENT, node)
        if share < LOWEST_COMPONENT:
            yield (
                f"Component {names[node]} changes {share:.1%} of the outputs, fewer than "
                f"{LOWEST_COMPONENT:.0%}."
            )
    varies = carried_differences(model, pairs[0]).any(axis=(0, 2))
    for edge in (model.edges[index] for index in np.flatnonzero(varies)):
        share = largest(LOWEST_EDGE, edge=edge)
        if share < LOWEST_EDGE:
            yield f"Edge {edge} changes {share:.2%} of the outputs, fewer than {LOWEST_EDGE:.0%}."


def _bad_outputs(task: GeneratedTask, pairs: TaskPairs) -> Iterator[str]:
    from interpbench_jax.high_level import MARGIN

    rows = np.asarray(task.high_level(pairs.input_ids))[pairs.is_scored]
    n_missing = int((rows.max(axis=1) < MARGIN).sum())
    if n_missing:
        yield f"{n_missing} of {len(rows)} outputs are missing."
    n_mixed = int(((rows > MARGIN).sum(axis=1) > 1).sum())
    if n_mixed:
        yield f"{n_mixed} of {len(rows)} outputs are a mixture of several classes."
    share = np.bincount(rows.argmax(axis=1), minlength=rows.shape[1]).max() / len(rows)
    if share > HIGHEST_CLASS:
        yield f"One class has {share:.0%} of the outputs, more than {HIGHEST_CLASS:.0%}."


def _bad_circuit(task: GeneratedTask, circuits: Iterable[Circuit]) -> Iterator[str]:
    circuit = task.complete_circuit
    n_edges = len(circuit.in_universe("head-no-embed")) - len(circuit.constant_in("head-no-embed"))
    if n_edges < FEWEST_EDGES:
        yield f"Only {n_edges} edges do not start at the embedding; {FEWEST_EDGES} are required."
    own = set(circuit.in_universe("head"))
    shape = (circuit.n_layers, circuit.n_heads)
    if any(
        (other.n_layers, other.n_heads) == shape and set(other.in_universe("head")) == own
        for other in circuits
    ):
        yield "Another task has the same circuit."
