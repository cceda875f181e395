"""Edge Pruning: masks of edges and of writers, driven to a given sparsity."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from interpbench_jax.discovery.hard_concrete import HardConcrete, draw_noise
from interpbench_jax.discovery.learned_gates import edge_slopes, learn
from interpbench_jax.discovery.method import DiscoveryData, Scores, edge_groups
from interpbench_jax.discovery.probing import kept_share
from interpbench_jax.discovery.runs import start_runs
from interpbench_jax.metrics import Metric
from interpbench_jax.model import Transformer
from interpbench_jax.universes import Universe


@dataclass(frozen=True)
class EdgePruningSettings:
    """Settings.

    Attributes:
        steps: steps; each uses all inputs, and gates drawn anew.
        target_edge_sparsity: share of edges to do without.
        target_node_sparsity: share of writers to do without.
        warmup: share of the steps in which the targets rise from 0, in proportion to the step.
        learning_rate: of Adam, for the gates' locations.
        multiplier_rate: of Adam, for the multipliers, which ascend.
        initial_gate: every gate's value without noise at the start.
        distribution: of the gates.
    """

    steps: int = 300
    target_edge_sparsity: float = 0.9
    target_node_sparsity: float = 0.4
    warmup: float = 0.7
    learning_rate: float = 0.1
    multiplier_rate: float = 0.1
    initial_gate: float = 0.99
    distribution: HardConcrete = field(default_factory=HardConcrete)

    def __post_init__(self) -> None:
        targets = (self.target_edge_sparsity, self.target_node_sparsity, self.warmup)
        if self.steps < 1 or not all(0 <= share <= 1 for share in targets):
            raise ValueError(f"Expected at least 1 step, and shares in 0..1, got {self}.")
        if self.learning_rate <= 0 or self.multiplier_rate < 0:
            raise ValueError(f"Expected a learning rate above 0, got {self}.")
        self.distribution.location_of(self.initial_gate)


class _Parameters(NamedTuple):
    """What is learned.

    Attributes:
        edges: locations of the edges' gates.
        writers: locations of the writers' gates.
        multipliers: of the edges' and the writers' distance from their target, and of its square.
    """

    edges: Float[Array, " edges"]
    writers: Float[Array, " sources"]
    multipliers: Float[Array, "2 2"]


@dataclass(frozen=True)
class _Pruning:
    """The problem, for one universe.

    Attributes:
        settings: the settings.
        source_of: the writer of each edge.
    """

    settings: EdgePruningSettings
    source_of: tuple[int, ...]

    def optimizer(self) -> optax.GradientTransformation:
        """Adam for all, downhill for gates and uphill for multipliers."""
        rates = {"gates": self.settings.learning_rate, "up": -self.settings.multiplier_rate}
        labels = _Parameters("gates", "gates", "up")  # pyright: ignore[reportArgumentType]
        return optax.multi_transform({name: optax.adam(r) for name, r in rates.items()}, labels)

    def gates(
        self, parameters: _Parameters, noise: Float[Array, " gates"], step: Int[Array, ""]
    ) -> tuple[Float[Array, " edges"], Float[Array, ""]]:
        """Every edge's gate times its writer's, and the multipliers' part of the loss."""
        settings, own = self.settings, np.asarray(self.source_of)
        hard = settings.distribution
        n_edges = len(parameters.edges)
        of_edges = hard.draw(parameters.edges, noise[:n_edges])
        of_writers = hard.draw(parameters.writers, noise[n_edges:])
        p_edges = hard.p_nonzero(parameters.edges) * hard.p_nonzero(parameters.writers)[own]
        p_writers = hard.p_nonzero(parameters.writers)
        sparsity = 1 - jnp.stack([p_edges.mean(), p_writers.mean()])
        done = (step + 1).astype(sparsity.dtype) / max(settings.warmup * settings.steps, 1)
        targets = (settings.target_edge_sparsity, settings.target_node_sparsity)
        wanted = jnp.asarray(targets, sparsity.dtype) * jnp.minimum(done, 1)
        distance = sparsity - wanted
        both = jnp.stack([distance, distance**2], axis=1)
        return of_edges * of_writers[own], (parameters.multipliers * both).sum()


def edge_pruning(
    model: Transformer,
    data: DiscoveryData,
    metric: Metric,
    settings: EdgePruningSettings,
    key: jax.Array,
) -> Scores:
    """How much of each edge is kept by masks learned to harm little at a given sparsity.

    Every edge and every writer of the universe has a hard concrete gate, and an edge is kept by
    the product of its own and its writer's. The metric's mean is minimised while the sparsities
    are held at targets that first rise, by a linear and a quadratic multiplier each that ascend.
    The score is the product of the sigmoids of the two gates' locations, in 0..1.
    Source: Bhaskar et al. 2024 (arXiv:2406.16778). There sparsity is that
    of the drawn masks; here it is the expected share of gates that are 0. The paper's models have
    thousands of times more edges: steps, rates and targets here suit the benchmark's, which have
    circuits of about a tenth of some hundred edges.
    """
    runs = start_runs(model, data, metric)
    space = data.edges(model.config)
    problem = _Pruning(settings, _sources_of(space))
    n_edges, n_writers = len(space.edges), len(space.sources)
    location = settings.distribution.location_of(settings.initial_gate)
    start = _Parameters(
        jnp.full(n_edges, location, runs.dtype),
        jnp.full(n_writers, location, runs.dtype),
        jnp.zeros((2, 2), runs.dtype),
    )
    noise = draw_noise(key, (settings.steps, n_edges + n_writers), runs.dtype)
    learned = learn(problem, start, noise, edge_slopes(runs, edge_groups(space)))
    edges, writers, multipliers = learned.parameters
    own, gate = np.asarray(problem.source_of), settings.distribution.gate
    gates = np.asarray(gate(edges), np.float64) * np.asarray(gate(writers), np.float64)[own]
    return Scores(
        "edge",
        data.universe,
        kept_share(edges) * kept_share(writers)[own],
        {
            "gates": gates,
            "edge_locations": edges,
            "writer_locations": writers,
            "multipliers": multipliers,
            "loss_history": learned.loss,
            "metric_history": learned.metric,
            "final_loss": learned.loss[-1],
        },
    )


def _sources_of(space: Universe) -> tuple[int, ...]:
    index = {node: i for i, node in enumerate(space.sources)}
    return tuple(index[edge.src] for edge in space.edges)
