"""Some inputs of a method, and what their masked runs start from."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from interpbench_jax.engine.plain_runs import PlainRun
from interpbench_jax.engine.scoring import LogitsMetric, Scoring
from interpbench_jax.layout import N_EMBEDDINGS, Layout
from interpbench_jax.targets import Targets


class Chunk(NamedTuple):
    """Some inputs, and what their runs start from.

    Attributes:
        run: the clean run.
        replacement: the replacement of every writer's output.
        targets: the metric's targets.
        share: 1 for an input, 0 for a padding row.
    """

    run: PlainRun
    replacement: Float[Array, "src d_model pos #batch"]
    targets: Targets
    share: Float[Array, " batch"]

    @property
    def embedded(self) -> Float[Array, "2 d_model pos batch"]:
        """The outputs of the two embeddings."""
        return self.run.outputs[:N_EMBEDDINGS]

    def metric(self, scoring: Scoring) -> LogitsMetric:
        """The metric as a function of logits alone."""
        return scoring.compare_with(
            scoring.scored(self.run.logits), scoring.scored(jnp.asarray(self.targets).T)
        )

    def change(self, layout: Layout) -> tuple[Float[Array, "_ d_model pos batch"], ...]:
        """Every writer's clean output less its replacement, in the groups of `Point.change`."""
        change = self.run.outputs - self.replacement
        return tuple(change[group] for group in layout.writer_groups())
