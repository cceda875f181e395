"""Automatic circuit discovery (ACDC): cut, one by one, every edge that makes little difference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.discovery.method import DiscoveryData, Scores, edge_groups
from interpbench_jax.discovery.runs import Runs, mean_of, start_runs
from interpbench_jax.engine.greedy import (
    GreedyStep,
    StartPlace,
    clean_siblings,
    lay_ground,
    take_step,
)
from interpbench_jax.layout import N_KINDS, Layout
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer

Siblings = tuple[Any, ...] | None
EdgeOrder = Literal["backward", "shuffled", "forward"]
THRESHOLDS = (
    *(0.0, 1e-5, 1e-4, 1e-3, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5),
    *(0.8, 1.0, 10.0, 20.0, 50.0, 70.0, 100.0, 200.0, 1000.0),
)


@dataclass(frozen=True)
class ACDCSettings:
    """Settings of ACDC.

    Attributes:
        thresholds: an edge is cut if the cut raises the metric by less than the threshold, which
            is in the metric's unit and at least 0. The default is InterpBench's list. At 0,
            rounding decides about edges without effect, such as those that carry positions.
        order: `"backward"`: from the output to the embeddings, as in the paper and in
            auto-circuit; within an attention layer, head by head, q, then k, then v, and for each
            of them the writers from last to first. `"shuffled"`: the same, but with the edges into
            each attention layer, each MLP and the output in random order; auto-circuit visits
            them in the order of a Python set. `"forward"`: `"backward"` reversed, which is several
            times slower.
    """

    thresholds: tuple[float, ...] = THRESHOLDS
    order: EdgeOrder = "backward"

    def __post_init__(self) -> None:
        if not self.thresholds or not all(threshold >= 0 for threshold in self.thresholds):
            raise ValueError(f"Expected one or more thresholds, at least 0, got {self.thresholds}.")
        if self.order not in ("backward", "shuffled", "forward"):
            raise ValueError(
                f"Expected order to be 'backward', 'shuffled' or 'forward'; got {self.order!r}."
            )


def acdc(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: ACDCSettings,
    key: jax.Array,
) -> Scores:
    """The largest threshold at which each edge survives a greedy pass; 0 if it survives none.

    A pass starts with all edges. It cuts them one after another and restores those whose cut
    raised the metric by the threshold or more. The passes of all thresholds run together and share
    runs as long as they have cut the same edges, so nothing is computed twice.
    Source: Conmy et al. 2023 (arXiv:2304.14997), algorithm 1.

    Returns:
        Scores of edges. `details["kept"]` tells for each threshold, in the order given, whether
        it keeps each edge; `[thresholds, edges]`.

    Raises:
        ValueError: if the metric is NaN or infinite when some edge is cut.
    """
    runs = start_runs(model, data, metric)
    groups = edge_groups(data.edges(model.config))
    places = _order(groups, model, settings.order, key)
    lanes = _Lanes(settings.thresholds, groups.shape)
    passes = _Pass(runs, groups)
    for place, edges in places:
        passes.enter(place, len(lanes.masks))
        for edge in edges:
            values = passes.try_cut(lanes.masks, edge)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"Expected a finite metric with {data.edges(model.config).edges[edge]} cut, "
                    f"got {values[~np.isfinite(values)][0]}; look for overflow in the logits or in "
                    "the metric, or run in float64."
                )
            lanes.cut(values, groups == edge)
            passes.settle(lanes)
    kept = lanes.kept(groups)
    values = np.where(kept, np.asarray(settings.thresholds)[:, None], 0.0).max(axis=0)
    return Scores("edge", data.universe, values, {"kept": kept})


def _order(
    groups: np.ndarray, model: Transformer, order: EdgeOrder, key: jax.Array
) -> list[tuple[StartPlace, list[int]]]:
    """The edges in order, grouped by the place where their runs start."""
    places = list(_backward(groups, Layout(model.config.n_layers, model.config.n_heads)))
    if order == "shuffled":
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
        return [(place, generator.permutation(edges).tolist()) for place, edges in places]
    if order == "forward":
        return [(StartPlace("all", 0), [edge for _, edges in places for edge in edges][::-1])]
    return places


def _backward(groups: np.ndarray, layout: Layout) -> Iterator[tuple[StartPlace, list[int]]]:
    def edges_into(rows: Sequence[int]) -> list[int]:
        # Each reader's edges from the last writer to the first; two writers may share an edge.
        columns = range(groups.shape[1] - 1, -1, -1)
        found = [int(groups[row, column]) for row in rows for column in columns]
        return list(dict.fromkeys(edge for edge in found if edge >= 0))

    yield StartPlace("output", layout.n_layers), edges_into([layout.output_reader])
    for layer in reversed(range(layout.n_layers)):
        yield StartPlace("mlp", layer), edges_into([layout.mlp_reader(layer)])
        readers = [
            layout.head_reader(layer, kind, head)
            for head in range(layout.n_heads)
            for kind in range(N_KINDS)
        ]
        yield StartPlace("heads", layer), edges_into(readers)


class _Lanes:
    """The thresholds, grouped in lanes that have cut the same edges so far.

    Attributes:
        masks: each lane's mask, `[lanes, dst, src]`.
        parent: the lane that each lane came from in the last step.
        is_cut: whether each lane kept the last step's cut.
    """

    def __init__(self, thresholds: Sequence[float], shape: tuple[int, ...]):
        self._sorted = np.argsort(thresholds, kind="stable")
        self._thresholds = np.asarray(thresholds, np.float64)[self._sorted]
        self._lane = np.zeros(len(thresholds), int)
        self._value = np.zeros(1)
        self.masks = np.ones((1, *shape), np.float32)
        self.parent = np.zeros(1, np.int32)
        self.is_cut = np.zeros(1, bool)

    def cut(self, values: Float[np.ndarray, " lanes"], entries: Bool[np.ndarray, "dst src"]):
        """Decide whether to cut an edge, given the metric of each lane without it."""
        change = (values - self._value)[self._lane]
        is_cut = change < self._thresholds
        pairs = np.stack([self._lane, is_cut], axis=1)
        # Thresholds are sorted, so those of one lane are adjacent and stay so.
        is_first = np.append(True, (pairs[1:] != pairs[:-1]).any(axis=1))
        first = np.flatnonzero(is_first)
        self.parent = self._lane[first].astype(np.int32)
        self.is_cut = is_cut[first]
        self.masks = self.masks[self.parent]
        self.masks[np.ix_(np.flatnonzero(self.is_cut))] *= ~entries
        self._value = np.where(self.is_cut, values[self.parent], self._value[self.parent])
        self._lane = np.cumsum(is_first) - 1

    def kept(self, groups: np.ndarray) -> Bool[np.ndarray, "thresholds edges"]:
        """Which edges each threshold keeps."""
        entries = [np.argwhere(groups == edge)[0] for edge in range(groups.max() + 1)]
        rows, columns = np.transpose(entries)
        kept = np.empty((len(self._lane), len(entries)), bool)
        kept[self._sorted] = self.masks[self._lane][:, rows, columns] > 0
        return kept


class _Pass:
    """The runs of a greedy pass, over all chunks of the inputs."""

    def __init__(self, runs: Runs, groups: np.ndarray):
        self.runs = runs
        self.groups = groups
        self.ground = runs.each(lay_ground, ())
        self.place = StartPlace("output", 0)
        self.head = 0
        self.siblings: list[list[Siblings]] = []
        self.steps: list[list[GreedyStep]] = []

    def enter(self, place: StartPlace, n_lanes: int) -> None:
        """Move on to another place."""
        self.place = place
        clean: list[Siblings] = [None] * len(self.ground)
        if place.part == "heads":
            clean = [
                clean_siblings(ground, place.layer, self.runs.layout) for ground in self.ground
            ]
        self.siblings = [clean] * n_lanes

    def try_cut(
        self, masks: Float[np.ndarray, "lanes dst src"], edge: int
    ) -> Float[np.ndarray, " lanes"]:
        """The metric of each lane with one more edge cut, averaged over inputs."""
        entries = self.groups == edge
        row = int(np.flatnonzero(entries.any(axis=1))[0])
        self.head = self.runs.layout.reader_place(row).head
        self.steps = self.runs.each_of(
            take_step,
            (self.place,),
            [
                (self.ground, siblings, mask, np.int32(self.head))
                for siblings, mask in zip(
                    self.siblings, (masks * ~entries).astype(self.runs.dtype), strict=True
                )
            ],
        )
        values = [[step.value for step in steps] for steps in self.steps]
        return np.asarray([mean_of(parts, self.runs.n_inputs) for parts in values])

    def settle(self, lanes: _Lanes) -> None:
        """Update the siblings by what the lanes decided."""
        self.siblings = [
            self._after(parent) if is_cut else self.siblings[parent]
            for parent, is_cut in zip(lanes.parent.tolist(), lanes.is_cut.tolist(), strict=True)
        ]

    def _after(self, lane: int) -> list[Siblings]:
        """The siblings of a lane, for each chunk, after its last cut."""
        return [
            siblings and (*siblings[: self.head], step.head, *siblings[self.head + 1 :])
            for siblings, step in zip(self.siblings[lane], self.steps[lane], strict=True)
        ]
