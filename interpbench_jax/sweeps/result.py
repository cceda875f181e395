"""What a sweep found."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from jaxtyping import Float

from interpbench_jax.circuit import UniverseName
from interpbench_jax.interventions import Ablation
from interpbench_jax.sites import Edge, Node

if TYPE_CHECKING:
    import pandas

Name = TypeVar("Name", Edge, Node)


@dataclass(frozen=True)
class SweepResult(Generic[Name]):
    """The effect of each edit.

    Attributes:
        names: what was replaced, one edge or node an edit; `str` gives upstream's name.
        effects: how much worse the run got, in the metric's unit: `[edits]`, or
            `[edits, positions]` where each position was patched alone.
        positions: the positions that were patched alone; None where all were at once.
        logits: the patched runs' logits, `[edits, batch, pos, vocab_out]` (with an axis
            `positions` after `edits` where each was patched alone); None unless asked for.
        metric: the metric's name.
        ablation: what took the place of the outputs.
        universe: the edges or nodes that were swept.
        n_inputs: how many inputs the effects are means over.
    """

    names: tuple[Name, ...]
    effects: Float[np.ndarray, " edits"] | Float[np.ndarray, "edits positions"]
    positions: tuple[int, ...] | None
    logits: np.ndarray | None = field(repr=False)
    metric: str
    ablation: Ablation
    universe: UniverseName
    n_inputs: int

    def to_pandas(self) -> "pandas.DataFrame":
        """One row an edit: the name, its ends for an edge, the position if any, the effect.

        Raises:
            ImportError: if pandas is not installed.
        """
        import pandas

        count = 1 if self.positions is None else len(self.positions)
        columns: dict[str, object] = {"name": np.repeat([str(name) for name in self.names], count)}
        if isinstance(self.names[0], Edge):
            edges = [name for name in self.names if isinstance(name, Edge)]
            columns["src"] = np.repeat([str(edge.src) for edge in edges], count)
            columns["dst"] = np.repeat([str(edge.dst) for edge in edges], count)
        if self.positions is not None:
            columns["position"] = np.tile(self.positions, len(self.names))
        columns["effect"] = self.effects.reshape(-1)
        return pandas.DataFrame(columns)
