"""Counterfactuals: the prompts to patch from, which differ from a prompt in a chosen way."""

import warnings
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np

from interpbench_jax.cases.ioi.prompts import PromptSpace
from interpbench_jax.cases.sequences import Split

Counterfactual = Literal["abc", "swapped", "random", "upstream"]
COUNTERFACTUALS: tuple[Counterfactual, ...] = get_args(Counterfactual)

_NAME_POSITIONS = (3, 5, 11)
_GIVER = 11


def corrupt(
    space: PromptSpace,
    prompts: np.ndarray,
    rng: np.random.Generator,
    split: Split | None,
    counterfactual: Counterfactual,
) -> np.ndarray:
    """A counterfactual of each prompt.

    Args:
        space: the prompts.
        prompts: int32 `[prompts, pos]`.
        rng: the generator; it advances except for `"swapped"` and `"upstream"`.
        split: the split that `"random"` draws from; the others ignore it.
        counterfactual: `"abc"`: three other names, all different, so that nobody is named twice
            and there is no answer (Wang et al. 2023, arXiv:2211.00593); `"swapped"`: the giver
            and the recipient in the second sentence are swapped, so that the answer flips;
            `"random"`: another prompt, drawn uniformly; `"upstream"`: the prompt itself.

    Returns:
        int32 of the prompts' shape.

    Warns:
        UserWarning: for `"upstream"`, because patching from it changes nothing.
    """
    return _CORRUPT[counterfactual](space, prompts, rng, split)


def _with_other_names(
    space: PromptSpace, prompts: np.ndarray, rng: np.random.Generator, split: Split | None
) -> np.ndarray:
    names = space.vocabulary.names
    order = rng.random((len(prompts), len(names)))
    for position in _NAME_POSITIONS:
        order[names[None] == prompts[:, position, None]] = 2.0  # after all other names
    corrupted = prompts.copy()
    corrupted[:, _NAME_POSITIONS] = names[np.argsort(order, axis=1)[:, : len(_NAME_POSITIONS)]]
    return corrupted


def _with_swapped_names(
    space: PromptSpace, prompts: np.ndarray, rng: np.random.Generator, split: Split | None
) -> np.ndarray:
    corrupted = prompts.copy()
    corrupted[:, _GIVER] = space.answers(prompts)[0]
    return corrupted


def _with_another_prompt(
    space: PromptSpace, prompts: np.ndarray, rng: np.random.Generator, split: Split | None
) -> np.ndarray:
    corrupted = space.draw(len(prompts), rng, split)
    while len(same := np.flatnonzero((corrupted == prompts).all(axis=1))):
        corrupted[same] = space.draw(len(same), rng, split)
    return corrupted


def _as_upstream(
    space: PromptSpace, prompts: np.ndarray, rng: np.random.Generator, split: Split | None
) -> np.ndarray:
    warnings.warn(
        "The counterfactual 'upstream' is the prompt itself, as InterpBench released it: patching "
        "from it changes nothing, and every edge scores the same. It is kept to reproduce "
        "upstream's numbers; choose 'abc', 'swapped' or 'random' for anything else.",
        stacklevel=5,
    )
    return prompts.copy()


_CORRUPT: Mapping[
    Counterfactual,
    Callable[[PromptSpace, np.ndarray, np.random.Generator, Split | None], np.ndarray],
] = {
    "abc": _with_other_names,
    "swapped": _with_swapped_names,
    "random": _with_another_prompt,
    "upstream": _as_upstream,
}
