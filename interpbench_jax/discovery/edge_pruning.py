"""Edge Pruning: learned masks of edges and of writers at a target sparsity."""

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
    """Settings of Edge Pruning.

    Attributes:
        steps: the number of steps; each uses all inputs and newly drawn gates.
        target_edge_sparsity: the share of edges to remove.
        target_node_sparsity: the share of writers to remove.
        warmup: the share of the steps during which the targets rise linearly from 0.
        learning_rate: Adam's learning rate for the gates' locations.
        multiplier_rate: Adam's learning rate for the multipliers, which ascend.
        initial_gate: the initial value of every gate without noise.
        distribution: the gates' distribution.
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
    """The learned parameters.

    Attributes:
        edges: the locations of the edges' gates.
        writers: the locations of the writers' gates.
        multipliers: the Lagrange multipliers of the distance from the target sparsity and of its
            square, for edges (first row) and for writers.
    """

    edges: Float[Array, " edges"]
    writers: Float[Array, " sources"]
    multipliers: Float[Array, "2 2"]


@dataclass(frozen=True)
class _Pruning:
    """The pruning problem for one universe.

    Attributes:
        settings: the settings.
        source_of: the writer of each edge.
    """

    settings: EdgePruningSettings
    source_of: tuple[int, ...]

    def optimizer(self) -> optax.GradientTransformation:
        """Adam for all parameters: descent for gates and ascent for multipliers."""
        rates = {"gates": self.settings.learning_rate, "up": -self.settings.multiplier_rate}
        labels = _Parameters("gates", "gates", "up")  # pyright: ignore[reportArgumentType]
        return optax.multi_transform({name: optax.adam(r) for name, r in rates.items()}, labels)

    def gates(
        self, parameters: _Parameters, noise: Float[Array, " gates"], step: Int[Array, ""]
    ) -> tuple[Float[Array, " edges"], Float[Array, ""]]:
        """Each edge's gate times its writer's gate, and the multipliers' part of the loss."""
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
    """How much of each edge is kept by masks learned to do little harm at a target sparsity.

    Every edge and every writer of the universe has a hard concrete gate, and an edge's mask is
    the product of its gate and its writer's. The metric's mean is minimized under a constraint on
    each sparsity, with a linear and a quadratic Lagrange multiplier; the targets rise during the
    warm-up. The score is the product of the sigmoids of the two gates' locations, in 0..1.
    Source: Bhaskar et al. 2024 (arXiv:2406.16778). There, sparsity is that of the drawn masks;
    here, it is the expected share of gates that are 0. The paper's models have thousands of times
    more edges: the default steps, rates and targets suit the benchmark's models, which have a few
    hundred edges, about a tenth of them in the circuit.
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
