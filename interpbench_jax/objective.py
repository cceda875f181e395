"""The objective of a patched run: a metric, its targets, and the positions that are scored."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool

if TYPE_CHECKING:
    from collections.abc import Callable

    from interpbench_jax.axes import Tokens
    from interpbench_jax.metrics import Metric, MetricName
    from interpbench_jax.model import Transformer
    from interpbench_jax.targets import Targets

Scored = Bool[np.ndarray, "batch pos"] | Bool[np.ndarray, " pos"]


@dataclass(frozen=True, eq=False, repr=False)
class Objective:
    """How patched runs are scored, as one value.

    The pairs of a case carry their own (`case.sample(...).objective`).

    Attributes:
        metric: the name of one of `metrics.METRICS`, or a function like them. None for the
            default, which depends on the use: the distance from the clean run (KL; L2 for a
            regression), or, for discovery methods that follow a slope, a loss against the targets.
        targets: the metric's targets: classes or numbers, `[batch, pos]`; or `[batch, pos, 2]`: an
            answer and the distractor that `"logit_diff"` compares it with. None for the clean
            run's own answers. A class of -1, or a number that is NaN, marks a position that is not
            scored.
        scored: which positions are scored, bool: `[batch, pos]`, or `[pos]` for all inputs. None
            for all positions but the first, which holds BOS.
    """

    metric: "MetricName | Metric | None" = None
    targets: "Targets | None" = None
    scored: Scored | None = None

    def __repr__(self) -> str:
        targets = "of the clean run" if self.targets is None else [*np.shape(self.targets)]
        scored = "all positions but the first"
        if self.scored is not None:
            scored = f"{int(np.sum(self.scored)):,} of {np.size(self.scored):,} positions"
        return f"Objective(metric={self.metric!r}, targets {targets}, {scored} scored)"

    def fit(
        self,
        model: "Transformer",
        clean: "Tokens",
        answer: "Callable[[], np.ndarray] | None" = None,
    ) -> "FittedTargets":
        """The targets of these inputs, marked where nothing is scored.

        Args:
            model: the model.
            clean: the clean inputs.
            answer: computes the model's own answers on them, in case they are needed; by default
                the model is run.

        Raises:
            TypeError: if `scored` is not boolean.
            ValueError: if the targets, or `scored`, do not fit the inputs or the model, or an
                input has no position that counts.
        """
        from interpbench_jax.targets import (
            check_target_values,
            check_targets,
            mark_unscored,
            own_answers,
        )

        n, n_pos = np.shape(clean)
        scored = self._scored_positions(n, n_pos)
        first = int(scored.any(axis=0).argmax())
        if self.targets is None:
            if scored[:, first:].all():
                return FittedTargets(None, first)
            targets = own_answers(model, clean) if answer is None else answer()
        else:
            check_targets(self.targets, (n, n_pos))
            targets = np.asarray(self.targets)
        if model.config.is_regression:
            # Among whole numbers -1 is one of them.
            targets = targets.astype(np.result_type(targets, np.float32))
        targets = mark_unscored(targets, scored)
        check_target_values(targets, model.config)
        return FittedTargets(targets, first)

    def _scored_positions(self, n: int, n_pos: int) -> Bool[np.ndarray, "batch pos"]:
        if self.scored is None:
            if n_pos < 2:
                raise ValueError(
                    "Expected inputs of at least 2 positions, of which the first, BOS, is not "
                    f"scored; got {n_pos}. Pass the scored positions: Objective(scored=...)."
                )
            return np.broadcast_to(np.arange(n_pos) > 0, (n, n_pos))
        scored = np.asarray(self.scored)
        if scored.dtype != bool:
            raise TypeError(
                "Expected `scored` as booleans, True where a position is scored, got "
                f"{scored.dtype}; for the third position and later ones: np.arange({n_pos}) >= 2."
            )
        if scored.shape not in ((n_pos,), (n, n_pos)):
            raise ValueError(
                f"Expected `scored` of shape {(n, n_pos)}, or {(n_pos,)} for all inputs, got "
                f"{scored.shape}."
            )
        scored = np.broadcast_to(scored, (n, n_pos))
        n_without = int((~scored.any(axis=1)).sum())
        if n_without:
            raise ValueError(
                f"Expected a scored position in every input, got none in {n_without} of {n}."
            )
        return scored


class FittedTargets(NamedTuple):
    """An objective's targets for some inputs.

    Attributes:
        targets: the targets, marked where nothing is scored; None for the clean run's own answers
            at every position from `first_scored` on.
        first_scored: the first position that is scored in any input.
    """

    targets: np.ndarray | None
    first_scored: int

    @property
    def seen(self) -> np.ndarray | None:
        """The targets from `first_scored` on."""
        return None if self.targets is None else self.targets[:, self.first_scored :]
