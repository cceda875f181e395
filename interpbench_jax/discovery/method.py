"""The inputs and the results of a discovery method.

A method is a function `(model, data, metric, settings, key) -> Scores`. It sees a model, inputs and
the replacements for what it cuts; it never sees the circuit.
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
from interpbench_jax.engine.plain_runs import PlainRuns
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
    """The inputs of a method, and the replacements for what it cuts.

    `data_for` makes one.

    Attributes:
        clean: the clean inputs, `[batch, pos]`.
        corrupted: the inputs that replacements come from, `[batch, pos]`; paired with `clean` by
            row if `ablation` is `"resample"`.
        targets: the metric's targets, `[batch, pos]`; or `[batch, pos, 2]`: an answer, and the
            distractor that `"logit_diff"` compares it with.
        ablation: where replacements come from; None for `constants`.
        constants: the replacement of every writer's output, `[1, pos, src, d_model]`, for
            ablations that all inputs share; `data_for` computes them.
        first_scored: the first position that metrics look at.
        universe: the edges that a method chooses among, each from one writer to one reader:
            `"qkv"`, or `"qkv-merged"`, in which the two embeddings are one writer.
        batch_size: the number of inputs of one call of a program; the default suits the machine.
        max_bytes: the memory that the runs of all calls may take together; the default is that of
            a sweep.
        freeze_layer_norm: whether layer norms divide, in every run and derivative of a method, by
            what they divided by in the clean run on the same input: constants, as in the
            attribution literature (Nanda 2023; Kramar et al. 2024, arXiv:2403.00745). Models
            without layer norm are not affected.
        plain: the model's plain runs on the clean inputs, each computed when it is first needed;
            None if nothing has needed them yet.
    """

    clean: Tokens
    corrupted: OtherTokens
    targets: Targets
    ablation: Ablation | None = "resample"
    constants: Constants | None = None
    first_scored: int = 1
    universe: FineUniverse = "qkv"
    batch_size: int | None = None
    max_bytes: int | None = None
    freeze_layer_norm: bool = False
    plain: PlainRuns | None = field(default=None, repr=False, compare=False)

    def objective(self, metric: Metric) -> Objective:
        """The objective of a sweep that a method runs itself."""
        is_scored = np.arange(self.clean.shape[1]) >= self.first_scored
        return Objective(metric, self.targets, is_scored)

    def edges(self, config: TransformerConfig) -> Universe:
        """The universe of edges, for a model of this shape."""
        return universe(self.universe, config.n_layers, config.n_heads)


@dataclass(frozen=True, repr=False)
class Scores:
    """How much each edge, or each node, matters according to a method.

    Attributes:
        level: whether `values` are the scores of edges or of nodes.
        universe: the universe of these edges or nodes.
        values: one float64 score for each of `universes.universe(...).edges`, or `.sources`; the
            further from 0, the more it matters. Methods that estimate an effect give its sign:
            positive where cutting hurts.
        details: further results of the method, by name.
        names: the edge or node of each score; `discover` adds them.
        by_position: one float64 score for each edge at each position at which its reader reads
            it, for methods that tell positions apart; None for others.
    """

    level: Level
    universe: FineUniverse
    values: Float[np.ndarray, " items"]
    details: Mapping[str, np.ndarray] = field(default_factory=dict)
    names: tuple[Edge, ...] | tuple[Node, ...] = ()
    by_position: Float[np.ndarray, "items positions"] | None = None

    @property
    def noise_floor(self) -> None:
        """None: how much rounding changes a method's scores is not known."""
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
        """One row per edge or node: its name if known, the ends of an edge, its score."""
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
        settings: the method's settings, a frozen dataclass.
        default_metric: the kind of its default metric: `"distance"`, the distance from the clean
            run's outputs; or `"loss"`, the distance from the targets, for methods that need a slope
            at the clean run, where a distance has none.
        is_random: whether results depend on the key.
        shuffled: for a method that visits the edges one after another, so that the result depends
            on their order: its settings with a random order, drawn with the key. A benchmark runs
            such a method in several orders (`BenchSettings.orders`). None for other methods.
        slope_at_clean: whether it uses the metric's slope at the clean run only.
    """

    run: Callable[[Transformer, DiscoveryData, Metric, Any, jax.Array], Scores]
    settings: Any
    default_metric: Literal["distance", "loss"] = "distance"
    is_random: bool = False
    shuffled: Any = None
    slope_at_clean: bool = False

    def __repr__(self) -> str:
        name = getattr(self.run, "__name__", type(self.run).__name__)
        return f"Method({name}, {self.settings}, default metric: {self.default_metric})"


def default_metric_of(kind: Literal["distance", "loss"], config: TransformerConfig) -> MetricName:
    """The default metric of a method, for a model of classes or of numbers."""
    if kind == "distance":
        return default_metric(config)
    return "target_mae" if config.is_regression else "cross_entropy"


def edge_groups(space: Universe) -> np.ndarray:
    """The edge of a universe that each entry of a mask belongs to: `[dst, src]`, -1 for none."""
    n_layers, n_heads = space.n_layers, space.n_heads
    shape = (len(readers(n_layers, n_heads)), len(writers(n_layers, n_heads)))
    groups = np.full(shape, -1, np.int32)
    for number, fine in enumerate(space.members.values()):
        groups[tuple(edge_indices(fine, n_layers, n_heads).T)] = number
    return groups


def node_groups(space: Universe) -> np.ndarray:
    """The source of a universe that each writer belongs to: `[src]`."""
    number = {node: i for i, node in enumerate(space.sources)}
    groups = np.zeros(len(writers(space.n_layers, space.n_heads)), np.int32)
    columns = {node: i for i, node in enumerate(writers(space.n_layers, space.n_heads))}
    for source in space.sources:
        for edge in space.fine_edges_of(source):
            groups[columns[edge.src]] = number[source]
    return groups


def add_up(values: np.ndarray, groups: np.ndarray) -> Float[np.ndarray, " items"]:
    """The sum of the values of each edge or node; values of no group are left out."""
    chosen = groups >= 0
    return np.bincount(groups[chosen], np.asarray(values, np.float64)[chosen])
