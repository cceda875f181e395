"""The result of a sweep."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, Literal

import numpy as np
from jaxtyping import Float

from interpbench_jax.display import SHOWN, html_table, largest
from interpbench_jax.extras import needs_extra
from interpbench_jax.sites import Edge, Neuron, Node
from interpbench_jax.sweeps.edits import EditName
from interpbench_jax.sweeps.inputs import ReplacementSource
from interpbench_jax.sweeps.plan import SweepPlan
from interpbench_jax.universes import UniverseName

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class SweepResult(Generic[EditName]):
    """The effect of each edit.

    Attributes:
        names: the edits' names; `str` of an edge or a node is upstream's name.
        effects: how much worse each patched run is than the clean run, in the metric's unit:
            `[edits]`. If positions were patched one at a time, the last axis counts positions; if
            there are several ablations, the first axis counts them.
        positions: the positions that were patched one at a time; None if all were at once.
        logits: the patched runs' logits, `[edits, batch, pos, vocab_out]`, with the axes of
            `effects` instead of the first; None unless requested.
        metric: the metric's name.
        ablation: the ablation; a tuple if several were requested.
        universe: the universe of the edges or nodes; None for edits of another kind.
        n_inputs: the number of inputs that the effects are means over.
        noise_floor: the largest effect that rounding alone can cause, in the metric's unit: scores
            do not rank effects up to it. 0 for `"accuracy"` and for a custom metric.
        plan: how the sweep was computed.
    """

    names: tuple[EditName, ...]
    effects: (
        Float[np.ndarray, " edits"]
        | Float[np.ndarray, "edits positions"]
        | Float[np.ndarray, "ablations edits"]
        | Float[np.ndarray, "ablations edits positions"]
    )
    positions: tuple[int, ...] | None
    logits: np.ndarray | None = field(repr=False)
    metric: str
    ablation: ReplacementSource | tuple[ReplacementSource, ...]
    universe: UniverseName | None
    n_inputs: int
    noise_floor: float
    plan: SweepPlan = field(repr=False, compare=False)

    @property
    def ablations(self) -> tuple[ReplacementSource, ...]:
        """The ablations, as a tuple of one or several."""
        return self.ablation if isinstance(self.ablation, tuple) else (self.ablation,)

    @property
    def level(self) -> Literal["edge", "node"] | None:
        """Whether the edits are edges or nodes; None for edits of another kind."""
        if isinstance(self.names[0], Edge):
            return "edge"
        return "node" if isinstance(self.names[0], Node) else None

    @property
    def values(self) -> Float[np.ndarray, " edits"]:
        """One effect for each name; the largest one if there are several positions.

        Raises:
            ValueError: if there are several ablations.
        """
        effects = self._of_one_ablation()
        return effects if self.positions is None else effects.max(axis=1)

    @property
    def by_position(self) -> Float[np.ndarray, "edits positions"] | None:
        """The effects by position; None if all positions were patched at once.

        Raises:
            ValueError: if there are several ablations.
        """
        return None if self.positions is None else self._of_one_ablation()

    def top(self, k: int = 10) -> list[tuple[EditName, float]]:
        """The `k` edits with the largest effects, of either sign, and these effects.

        Raises:
            ValueError: if `k` is negative, or there are several ablations.
        """
        return largest(self.names, self.values, k)

    def _of_one_ablation(self) -> np.ndarray:
        if isinstance(self.ablation, tuple):
            raise ValueError(
                f"Expected the effects of one ablation, got those of {', '.join(self.ablation)}; "
                f"take result.of({self.ablation[0]!r})."
            )
        return self.effects

    def __repr__(self) -> str:
        ablations = self.ablations
        kind = f"{self.level}s of {self.universe!r}" if self.universe else "edits"
        at = "" if self.positions is None else f" at {len(self.positions)} positions"
        first = self.of(ablations[0]).top(3)
        shown = ", ".join(f"{text_of(name)}: {effect:.4g}" for name, effect in first)
        return (
            f"SweepResult({len(self.names):,} {kind}{at}, {', '.join(ablations)} ablation, effect "
            f"as {self.metric} over {self.n_inputs:,} inputs; largest: {shown:.300})"
        )

    def _repr_html_(self) -> str:
        return "".join(
            html_table(
                f"{len(self.names):,} edits, {ablation} ablation; the largest effects",
                ("edit", self.metric),
                [(text_of(name), effect) for name, effect in self.of(ablation).top(SHOWN)],
            )
            for ablation in self.ablations
        )

    def of(self, ablation: ReplacementSource) -> "SweepResult[EditName]":
        """The result of one of the ablations.

        Raises:
            ValueError: if it is not one of them.
        """
        done = self.ablations
        if ablation not in done:
            raise ValueError(f"Expected ablation to be one of {', '.join(done)}; got {ablation!r}.")
        if not isinstance(self.ablation, tuple):
            return self
        index = done.index(ablation)
        logits = None if self.logits is None else self.logits[index]
        return replace(self, effects=self.effects[index], logits=logits, ablation=ablation)

    def to_pandas(self) -> "pandas.DataFrame":
        """`columns` as a data frame.

        Raises:
            ImportError: if pandas is not installed.
        """
        with needs_extra("analysis", "A sweep's result as a data frame"):
            import pandas

        return pandas.DataFrame(self.columns())

    def columns(self) -> dict[str, np.ndarray]:
        """One row per edit: the ablation if there are several, the name, the ends of an edge, the
        position if there is one, the effect.
        """
        ablations = self.ablation if isinstance(self.ablation, tuple) else ()
        n_positions = 1 if self.positions is None else len(self.positions)

        def spread(values: Iterable[object]) -> np.ndarray:
            """A value for each name, for every position and ablation."""
            return np.tile(np.asarray(list(values)).repeat(n_positions), max(len(ablations), 1))

        found: dict[str, np.ndarray] = {}
        if ablations:
            found["ablation"] = np.repeat(np.asarray(ablations), len(self.names) * n_positions)
        found["name"] = spread(text_of(name) for name in self.names)
        edges = [name for name in self.names if isinstance(name, Edge)]
        if edges:
            found["src"] = spread(str(edge.src) for edge in edges)
            found["dst"] = spread(str(edge.dst) for edge in edges)
        if self.positions is not None:
            found["position"] = np.tile(self.positions, self.effects.size // n_positions)
        found["effect"] = self.effects.reshape(-1)
        return found


def text_of(name: Edge | Node | Neuron | tuple[Edge, ...] | int) -> str | int:
    """The name of an edit as it is shown; for a set of edges, all their names."""
    if isinstance(name, tuple):
        return ", ".join(map(str, name))
    return name if isinstance(name, int) else str(name)
