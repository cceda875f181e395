"""What a discovery method is given and what it gives back.

A method is a function `(model, data, metric, settings, key) -> Scores`. It sees a model, inputs
and what takes the place of what is cut; it never sees the circuit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Float

from interpbench_jax.axes import Constants, OtherTokens, Tokens
from interpbench_jax.config import TransformerConfig
from interpbench_jax.display import SHOWN, html_table, largest
from interpbench_jax.extras import needs_extra
from interpbench_jax.interventions import Ablation
from interpbench_jax.masks import edge_indices
from interpbench_jax.metrics import Metric, MetricName, default_metric
from interpbench_jax.model import Transformer
from interpbench_jax.names import Level
from interpbench_jax.objective import Objective
from interpbench_jax.sites import Edge, Node, readers, writers
from interpbench_jax.targets import Targets
from interpbench_jax.universes import Universe, universe

if TYPE_CHECKING:
    import pandas

FineUniverse = Literal["qkv", "qkv-merged"]
FINE_UNIVERSES: tuple[FineUniverse, ...] = get_args(FineUniverse)


@dataclass(frozen=True)
class DiscoveryData:
    """Inputs, and what takes the place of what is cut.

    Attributes:
        clean: `[batch, pos]`.
        corrupted: `[batch, pos]`, paired with `clean` by row where `ablation` is `"resample"`.
        targets: `[batch, pos]`, for the metrics that use any; or `[batch, pos, 2]`: an answer, and
            the distractor that `"logit_diff"` compares it with.
        ablation: where replacements come from; None for `constants`.
        constants: `[1, pos, src, d_model]`: what takes the place of every writer's output, for
            ablations that all inputs share; `discovery.data_for` computes them.
        first_scored: the first position that metrics look at.
        universe: the edges that a method chooses among, one writer to one reader each:
            `"qkv"`, or `"qkv-merged"`, where the two embeddings are one writer.
        batch_size: inputs of one call of a program; by default as many as suit the machine.
        freeze_layer_norm: whether layer norms divide, in every run and derivative of a method, by
            what they divided by in the clean run on the same input: constants, as in the
            attribution literature (Nanda 2023; Kramar et al. 2024, arXiv:2403.00745). Models
            without layer norm are not affected.
    """

    clean: Tokens
    corrupted: OtherTokens
    targets: Targets
    ablation: Ablation | None = "resample"
    constants: Constants | None = None
    first_scored: int = 1
    universe: FineUniverse = "qkv"
    batch_size: int | None = None
    freeze_layer_norm: bool = False

    def objective(self, metric: Metric) -> Objective:
        """What runs are judged by, for sweeps of a method's own."""
        is_scored = np.arange(self.clean.shape[1]) >= self.first_scored
        return Objective(metric, self.targets, is_scored)

    def edges(self, config: TransformerConfig) -> Universe:
        """The universe of edges, for a model of this shape."""
        return universe(self.universe, config.n_layers, config.n_heads)


@dataclass(frozen=True, repr=False)
class Scores:
    """How much a method thinks that each edge, or each node, matters.

    Attributes:
        level: whether `values` are of edges or of nodes.
        universe: of what.
        values: float64, one for each of `universes.universe(...).edges`, or `.sources`; far from 0
            where it matters. Methods that estimate an effect give its sign: positive where
            cutting hurts.
        details: what else a method has to say, by name.
        names: of each item, in the order of the values; `discover` fills them in.
    """

    level: Level
    universe: FineUniverse
    values: Float[np.ndarray, " items"]
    details: Mapping[str, np.ndarray] = field(default_factory=dict)
    names: tuple[Edge, ...] | tuple[Node, ...] = ()

    @property
    def noise_floor(self) -> None:
        """Of a method's scores it is not known what rounding makes of them."""
        return None

    def top(self, k: int = 10) -> list[tuple[Edge | Node, float]]:
        """The `k` items with the scores furthest from 0, and these scores.

        Raises:
            ValueError: if `k` is negative, or the items have no names.
        """
        if len(self.names) != len(self.values):
            raise ValueError(
                f"Expected a name for each of {len(self.values)} scores, got {len(self.names)}: "
                "scores that `discover` returns have them."
            )
        return largest(self.names, np.asarray(self.values), k)

    def columns(self) -> dict[str, np.ndarray]:
        """One row an item: its name, its ends for an edge, its score; names where there are any."""
        found: dict[str, np.ndarray] = {}
        if self.names:
            found["name"] = np.asarray([str(name) for name in self.names])
        edges = [name for name in self.names if isinstance(name, Edge)]
        if edges:
            found["src"] = np.asarray([str(edge.src) for edge in edges])
            found["dst"] = np.asarray([str(edge.dst) for edge in edges])
        return found | {"score": np.asarray(self.values)}

    def to_pandas(self) -> "pandas.DataFrame":
        """`columns` as a data frame.

        Raises:
            ImportError: if pandas is not installed.
        """
        with needs_extra("analysis", "Scores as a data frame"):
            import pandas

        return pandas.DataFrame(self.columns())

    def __repr__(self) -> str:
        shown = ""
        if self.names:
            shown = "; largest: " + ", ".join(f"{name}: {score:.4g}" for name, score in self.top(3))
        return f"Scores({len(self.values):,} {self.level}s of {self.universe!r}{shown})"

    def _repr_html_(self) -> str:
        title = f"{len(self.values):,} {self.level}s of {self.universe!r}; the largest scores"
        rows = self.top(SHOWN) if self.names else [("", score) for score in self.values[:SHOWN]]
        return html_table(title, (self.level, "score"), rows)


@dataclass(frozen=True)
class Method:
    """A discovery method, with its settings.

    Attributes:
        run: `(model, data, metric, settings, key) -> Scores`.
        settings: a frozen dataclass.
        default_metric: what it is given by default: `"distance"`, how far outputs are from the
            clean run's; or `"loss"`, how far from the targets, for methods that need a slope at the
            clean run, where a distance has none.
        slope_at_clean: whether it looks at the metric's slope at the clean run and nowhere else.
        is_random: whether results depend on the key.
        shuffled: for a method that goes through the edges one after another, so that the result
            depends on their order: its settings with an order that is drawn with the key. A
            benchmark runs it in several orders (`BenchSettings.orders`). None for others.
    """

    run: Callable[[Transformer, DiscoveryData, Metric, Any, jax.Array], Scores]
    settings: Any
    default_metric: Literal["distance", "loss"] = "distance"
    is_random: bool = False
    shuffled: Any = None
    slope_at_clean: bool = False


def default_metric_of(kind: Literal["distance", "loss"], config: TransformerConfig) -> MetricName:
    """The metric that a method is given by default, for a model of classes or of numbers."""
    if kind == "distance":
        return default_metric(config)
    return "target_mae" if config.is_regression else "cross_entropy"


def edge_groups(space: Universe) -> np.ndarray:
    """Which edge of a universe each entry of a mask belongs to: `[dst, src]`, -1 for none."""
    n_layers, n_heads = space.n_layers, space.n_heads
    shape = (len(readers(n_layers, n_heads)), len(writers(n_layers, n_heads)))
    groups = np.full(shape, -1, np.int32)
    for number, fine in enumerate(space.members.values()):
        groups[tuple(edge_indices(fine, n_layers, n_heads).T)] = number
    return groups


def node_groups(space: Universe) -> np.ndarray:
    """Which source of a universe each writer belongs to: `[src]`."""
    number = {node: i for i, node in enumerate(space.sources)}
    groups = np.zeros(len(writers(space.n_layers, space.n_heads)), np.int32)
    columns = {node: i for i, node in enumerate(writers(space.n_layers, space.n_heads))}
    for source in space.sources:
        for edge in space.fine_edges_of(source):
            groups[columns[edge.src]] = number[source]
    return groups


def add_up(values: np.ndarray, groups: np.ndarray) -> Float[np.ndarray, " items"]:
    """The sums of what belongs to each edge or node; entries of no group are left out."""
    chosen = groups >= 0
    return np.bincount(groups[chosen], np.asarray(values, np.float64)[chosen])
