"""What the parts of a case's model do, by the names that other benchmarks know them by."""

from collections.abc import Mapping

from interpbench_jax.cases.task import Task
from interpbench_jax.rasp.roles import Role
from interpbench_jax.sites import Kind, Node, as_writer

_TOKENS = Role("tokens", "tokens", "Writes the token of each position.")
_INDICES = Role("indices", "indices", "Writes the index of each position.")
# Where a universe merges both embeddings, they are the first layer's input.
_EMBEDDINGS: Mapping[Node, tuple[Role, ...]] = {
    Node(Kind.EMBED): (_TOKENS,),
    Node(Kind.POS_EMBED): (_INDICES,),
    Node(Kind.RESID_PRE, 0): (_TOKENS, _INDICES),
}


def model_roles(task: Task) -> dict[Node, tuple[Role, ...]]:
    """The roles of the model's writers: the embeddings, and every node that is aligned.

    Nodes that share a component share its roles; nodes outside the circuit have none.
    """
    found = dict(_EMBEDDINGS)
    for component, nodes in task.alignment.items():
        for node in map(as_writer, nodes):
            found[node] = (*found.get(node, ()), *task.roles[component])
    return found


def roles_by_name(task: Task) -> dict[str, list[dict[str, str]]]:
    """`model_roles` as JSON has them: lists of objects, by the names of the nodes."""
    return {str(node): [role._asdict() for role in own] for node, own in model_roles(task).items()}
