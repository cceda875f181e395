"""How much of a model's behavior the most important edges preserve, for circuits of growing size.

Let `M` be the metric, 0 on the clean run and positive where a run is worse. The faithfulness of a
circuit is `f = 1 - M(circuit) / M(empty circuit)`: at 1 the circuit behaves like the model, at 0
like the model with every edge cut. CPR is the area under f over the share of edges kept, CMD the
area under |1 - f|. Source: MIB (Mueller et al. 2025, arXiv:2504.13151), as computed in
hannamw/MIB-circuit-track b759df3 (`MIB_circuit_track/evaluation.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from interpbench_jax.axes import Constants, OtherTokens, Tokens
from interpbench_jax.display import html_table
from interpbench_jax.masks import edge_indices
from interpbench_jax.metrics import Metric, MetricName
from interpbench_jax.model import Transformer
from interpbench_jax.names import AblationName, Level
from interpbench_jax.objective import Objective
from interpbench_jax.pairs import Pairs, PairStream, as_pairs
from interpbench_jax.scores.levels import Ranking, check_scores, edge_ends, read_values
from interpbench_jax.scores.selection import keep_largest, on_paths
from interpbench_jax.sites import readers, writers
from interpbench_jax.sweeps import SweepOptions, sweep_masks
from interpbench_jax.universes import Universe, UniverseName
from interpbench_jax.universes import universe as find_universe

ItemValues = Ranking | Float[np.ndarray, " items"]
MIB_FRACTIONS: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class FaithfulnessCurve:
    """Faithfulness of circuits of growing size.

    Attributes:
        fractions: the requested shares of items.
        sizes: the corresponding numbers of items, rounded down.
        n_edges: number of edges in each circuit; for edges, the number of items unless pruned.
        effects: the metric of each circuit, in its unit; 0 means behavior like the clean run.
        empty_effect: the metric when every edge of the universe is cut.
        faithfulness: 1 - effect / empty effect; None if cutting every edge has no effect, which
            leaves nothing to be faithful to.
        cpr: area under the faithfulness over the fractions, by the trapezoidal rule; MIB's
            fractions begin at 0.001, so the area of a constant 1 is 0.999. None as above.
        cmd: area under the distance of faithfulness from 1, likewise; 0 is best. None as above.
    """

    fractions: Float[np.ndarray, " sizes"]
    sizes: Int[np.ndarray, " sizes"]
    n_edges: Int[np.ndarray, " sizes"]
    effects: Float[np.ndarray, " sizes"]
    empty_effect: float
    faithfulness: Float[np.ndarray, " sizes"] | None
    cpr: float | None
    cmd: float | None

    def __repr__(self) -> str:
        return (
            f"FaithfulnessCurve({len(self.sizes)} circuits of {self.sizes[0]:,} to "
            f"{self.sizes[-1]:,} items, CPR {_shown(self.cpr)}, CMD {_shown(self.cmd)})"
        )

    def _repr_html_(self) -> str:
        faithful = [None] * len(self.sizes) if self.faithfulness is None else self.faithfulness
        numbers = zip(self.fractions, self.n_edges, self.effects, faithful, strict=True)
        rows = [
            (float(share), int(edges), float(effect), _shown(own))
            for share, edges, effect, own in numbers
        ]
        title = f"Faithfulness: CPR {_shown(self.cpr)}, CMD {_shown(self.cmd)}"
        return html_table(title, ("share of the items", "edges", "effect", "faithfulness"), rows)


def _shown(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def faithfulness_curve(
    model: Transformer,
    clean: Tokens | Pairs,
    corrupted: OtherTokens | ItemValues | None = None,
    values: ItemValues | None = None,
    *,
    universe: UniverseName | None = None,
    level: Level | None = None,
    absolute: bool = True,
    fractions: Sequence[float] | None = MIB_FRACTIONS,
    prune: bool = True,
    ablation: AblationName | Constants = "resample",
    objective: Objective | None = None,
    metric: MetricName | Metric | None = None,
    max_bytes: int | None = None,
) -> FaithfulnessCurve:
    """Faithfulness of the circuits of the most important edges, or nodes, at several sizes.

    All edges of the universe outside the circuit are cut; edges of the model that the universe
    leaves out are kept, in the empty circuit too. All circuits are run in one sweep.

    Args:
        model: the model.
        clean: pairs of inputs, followed directly by the values; or clean inputs alone,
            `[batch, pos]`.
        corrupted: the inputs that replacements come from if `clean` is clean inputs alone, as in
            `sweep_edges`.
        values: a sweep's result or a method's scores; or one number for each edge of a universe,
            or for each of its sources. Of equally important items, the first ones are kept
            first.
        universe: the universe of the numbers, by default `"qkv"`; a result knows its own.
        level: the level of the numbers: `"edge"`, the default, or `"node"`; a circuit of nodes
            has all edges between them.
        absolute: whether importance is the absolute value. MIB reports the CPR of circuits
            selected with `absolute=False` and the CMD of those with `absolute=True`.
        fractions: the shares of items to keep, increasing, from 0 to 1; each is rounded down to
            a number of items. None means every number of items from none to all.
        prune: whether edges on no path within the circuit from an embedding to the output are
            cut too (`selection.on_paths`), as in MIB; no other edges are added instead.
            Under `"resample"` with paired inputs this changes the number of edges but no effect:
            a component that nothing feeds computes the corrupted run's own value.
        ablation: the replacement that cut edges carry, as in `sweep_edges`.
        objective: the objective that judges circuits, as in `sweep_edges`.
        metric: a metric instead of the objective's; 0 on the clean run, positive where worse.
        max_bytes: the most memory that the compiled programs may take, in bytes.

    Raises:
        ValueError: if there is not one value per item, one is NaN, the fractions are not as
            above, a circuit's metric is NaN or infinite, or an argument does not fit the
            model.
    """
    pairs, given = _read_inputs(clean, corrupted, values, objective, metric)
    numbers, universe, level = read_values(given, universe, level)
    space = find_universe(universe, model.config.n_layers, model.config.n_heads)
    items = space.edges if level == "edge" else space.sources
    check_scores(numbers, len(items), f"{level}s of {universe!r}")
    shares, sizes = _sizes(fractions, len(items))
    kept = keep_largest(numbers, sizes.tolist(), absolute=absolute)
    if level == "node":
        kept = _edges_among(kept, space)
    if prune:
        kept = on_paths(kept, space)
    # The empty circuit comes first; identical circuits are run once.
    distinct, place = np.unique(
        np.vstack([np.zeros_like(kept[:1]), kept]), axis=0, return_inverse=True
    )
    swept = sweep_masks(
        model,
        pairs,
        masks=circuit_masks(distinct, space),
        ablation=ablation,
        options=SweepOptions(max_bytes=max_bytes),
    )
    if not np.isfinite(swept.effects).all():
        raise ValueError(
            f"Expected a finite {swept.metric} for every circuit, got {swept.effects.tolist()}; "
            "check for overflow in the logits, or run in float64."
        )
    effects = np.asarray(swept.effects, np.float64)[place.reshape(-1)]
    return _curve(shares, sizes, kept.sum(axis=1), effects[1:], float(effects[0]))


def circuit_masks(
    kept: Bool[np.ndarray, "circuits edges"], space: Universe
) -> Float[np.ndarray, "circuits dst src"]:
    """Masks of circuits, as `sweep_masks` takes them.

    Args:
        kept: whether each circuit has each edge.
        space: the universe of the edges, which gives their order.

    Returns:
        float32: 0 at the fine edges of an edge that is not kept, 1 elsewhere, also at fine edges
        that belong to no edge of the universe.
    """
    shape = (space.n_layers, space.n_heads)
    masks = np.ones((len(kept), len(readers(*shape)), len(writers(*shape))), np.float32)
    fine = [edge for members in space.members.values() for edge in members]
    owner = np.repeat(np.arange(len(space.edges)), [len(m) for m in space.members.values()])
    dst, src = edge_indices(fine, *shape).T
    masks[:, dst, src] = kept[:, owner]
    return masks


def faithfulness_areas(
    fractions: Float[np.ndarray, " sizes"], faithfulness: Float[np.ndarray, " sizes"]
) -> tuple[float, float]:
    """CPR and CMD: areas under faithfulness and its distance from 1, by the trapezoidal rule.

    Args:
        fractions: the shares of items kept, increasing.
        faithfulness: the faithfulness of each circuit; 1 is the whole model's.
    """
    widths = np.diff(fractions)

    def area(heights: np.ndarray) -> float:
        return float((widths * (heights[:-1] + heights[1:]) / 2).sum())

    return area(faithfulness), area(np.abs(1 - faithfulness))


def _read_inputs(
    clean: Tokens | Pairs,
    corrupted: OtherTokens | ItemValues | None,
    values: ItemValues | None,
    objective: Objective | None,
    metric: MetricName | Metric | None,
) -> tuple[Pairs, ItemValues]:
    """The pairs and the values, in whichever argument the values were passed."""
    if isinstance(clean, Pairs | PairStream) and values is None:
        corrupted, values = None, corrupted  # pyright: ignore[reportAssignmentType]
    if values is None:
        raise TypeError(
            "Expected one value for each edge or node, got none; call faithfulness_curve(model, "
            "clean, corrupted, values), or faithfulness_curve(model, pairs, values)."
        )
    return as_pairs(clean, corrupted, objective, metric), values  # pyright: ignore


def _curve(
    fractions: Float[np.ndarray, " sizes"],
    sizes: Int[np.ndarray, " sizes"],
    n_edges: Int[np.ndarray, " sizes"],
    effects: Float[np.ndarray, " sizes"],
    empty_effect: float,
) -> FaithfulnessCurve:
    faithfulness, cpr, cmd = None, None, None
    if empty_effect != 0:
        faithfulness = 1 - effects / empty_effect
        cpr, cmd = faithfulness_areas(fractions, faithfulness)
    return FaithfulnessCurve(
        fractions, sizes, n_edges, effects, empty_effect, faithfulness, cpr, cmd
    )


def _sizes(fractions: Sequence[float] | None, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    if fractions is None:
        sizes = np.arange(n_items + 1)
        return sizes / n_items, sizes
    shares = np.asarray(fractions, np.float64)
    rising = len(shares) > 1 and (np.diff(shares) > 0).all()
    if not rising or not (0 <= shares[0] and shares[-1] <= 1):
        raise ValueError(
            f"Expected at least two increasing fractions from 0 to 1, got {tuple(fractions)}."
        )
    return shares, np.floor(shares * n_items).astype(np.int64)


def _edges_among(
    kept: Bool[np.ndarray, "sizes nodes"], space: Universe
) -> Bool[np.ndarray, "sizes edges"]:
    """The edges whose two ends are both kept; the output always is."""
    output = np.ones((len(kept), 1), bool)
    ends = edge_ends(space.name, space.n_layers, space.n_heads)
    return np.logical_and.reduce(np.hstack([kept, output])[:, ends], axis=2)
