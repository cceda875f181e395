"""How the logits of a run become a score."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Array, Float, Int, Shaped

from interpbench_jax.metrics import Metric, by_class, check_values

LogitsMetric = Callable[[Float[Array, "vocab_out pos rows"]], Float[Array, " rows"]]
# Inputs last; of pairs, the answers and then the distractors.
InnermostTargets = (
    Int[Array, "scored_pos rows"]
    | Float[Array, "scored_pos rows"]
    | Int[Array, "2 scored_pos rows"]
)


@dataclass(frozen=True)
class Scoring:
    """How logits become a score; part of a compiled program.

    Attributes:
        metric: the metric.
        first_scored: the first position that counts.
    """

    metric: Metric
    first_scored: int

    def scored(self, x: Shaped[Array, "*axes pos rows"]) -> Shaped[Array, "*axes scored_pos rows"]:
        """An array at the positions from `first_scored` on."""
        return x[..., self.first_scored :, :]

    def compare_with(
        self, clean: Float[Array, "vocab_out scored_pos rows"], targets: InnermostTargets
    ) -> LogitsMetric:
        """The metric as a function of a run's logits alone, at all positions or at the last ones.

        Args:
            clean: the clean run's logits at the positions that are scored.
            targets: the targets at these positions.
        """
        metric, n_scored = by_class(self.metric), clean.shape[1]

        def score(logits: Float[Array, "vocab_out pos rows"]) -> Float[Array, " rows"]:
            values = metric(logits[:, logits.shape[1] - n_scored :], clean, targets)
            check_values(values, logits.shape[-1])
            return values

        return score
