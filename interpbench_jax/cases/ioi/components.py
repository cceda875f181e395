"""The components of the task and the model's nodes that are aligned with them."""

from collections.abc import Mapping
from types import MappingProxyType

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
