"""The components of the task and the model's nodes that are aligned with them."""

from collections.abc import Mapping
from types import MappingProxyType

from interpbench_jax.rasp.roles import Role
from interpbench_jax.sites import Kind, Node

# As InterpBench aligns them (iit `ed44cbf`, `model_pairs/ioi_model_pair.py`).
COMPONENTS: Mapping[str, Node] = MappingProxyType(
    {
        "tokens": Node(Kind.MLP_POST, 0),
        "duplicate": Node(Kind.HEAD, 1, 1),
        "s_inhibition": Node(Kind.HEAD, 2, 1),
        "name_mover": Node(Kind.HEAD, 4, 1),
    }
)


def components(has_tokens: bool) -> Mapping[str, Node]:
    """The node of each component, in forward order; the tokens only if `has_tokens`."""
    return {name: node for name, node in COMPONENTS.items() if has_tokens or name != "tokens"}


ROLES: Mapping[str, Role] = MappingProxyType(
    {
        role.name: role
        for role in (
            Role("tokens", "the prompt's tokens", "Writes the token of each position again."),
            Role(
                "duplicate",
                "the last earlier position of the same token, or -1",
                "Attends to the last earlier position of the same token, and writes its index.",
            ),
            Role(
                "s_inhibition",
                "the token at that position, or -1",
                "Fetches the token at the position that was found: the name that was said twice.",
            ),
            Role(
                "name_mover",
                "so far, 10 for each name, -15 for each s_inhibition",
                "Adds up the names so far, and takes away more for the one that was said twice.",
            ),
        )
    }
)
