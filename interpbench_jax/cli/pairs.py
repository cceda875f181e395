"""The inputs that a command patches between."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interpbench_jax.case import Case
    from interpbench_jax.inputs import Drawn


def draw_pairs(case: "Case", n: int, seed: int, counterfactual: str | None) -> "Drawn":
    """Draw inputs as `case.sample` does, or uniformly over the tokens if the case has no task.

    Raises:
        ValueError: if the case has no such counterfactual.
    """
    from interpbench_jax.cases import task_of
    from interpbench_jax.inputs import task_pairs, uniform_pairs

    if task_of(case.case_id) is not None:
        return task_pairs(case, n, seed, counterfactual)
    if counterfactual is not None:
        raise ValueError(
            f"Expected no --counterfactual for case {case.case_id!r}, which has no declared task, "
            f"got {counterfactual!r}."
        )
    return uniform_pairs(case, n, seed)
