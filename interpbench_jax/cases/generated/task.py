"""Random tasks: a program that is drawn, and the model that is to learn it."""

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from interpbench_jax.bands import Band
from interpbench_jax.cases.generated.dials import Dials
from interpbench_jax.cases.generated.names import generated_id
from interpbench_jax.cases.generated.programs import make_program, shuffled
from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe, then_silence
from interpbench_jax.rasp import Value
from interpbench_jax.rasp.lowering import Lowering
from interpbench_jax.rasp.placement import lower
from interpbench_jax.sites import Node

RECIPE = Recipe(
    epochs=10,
    n_validation=1_000,
    edge_weight=2.0,
    attention_weight=10.0,
    sampling="subsets",
    outside_scale=0.01,
    note=(
        "Heads are told where to attend, and nodes outside start small: otherwise a deep program's "
        "outputs are learned by other ways than its own."
    ),
)


class SilentStage(NamedTuple):
    """A stage of training in which edges weigh more, to silence those outside.

    A later stage needs a lower learning rate, or it first undoes what the one before it did.

    Attributes:
        epochs: the number of passes over the data.
        learning_rate: the initial learning rate; it falls to 0.
        edge_weight: the weight of the loss on edges.
    """

    epochs: int
    learning_rate: float = 1e-3
    edge_weight: float = 10.0


# Where a branch is rare, what is outside must be more silent than elsewhere.
SILENCE = (SilentStage(4),)


@dataclass(frozen=True, kw_only=True, repr=False)
class GeneratedTask(RaspTask):
    """A task whose program was drawn at random.

    Attributes:
        seed: the seed that it was drawn with.
        dials: the settings that it was drawn by.
        marks: of two tasks, the tokens that select the second one.
    """

    seed: int
    dials: Dials
    marks: tuple[int, ...]

    @property
    def leak(self) -> Band | None:
        return self.dials.leak

    @property
    def first_task(self) -> "GeneratedTask":
        """The task on inputs that select the first of two; the other is computed in vain."""
        return self._on(tuple(token for token in self.vocab if token not in self.marks), 1)

    @property
    def second_task(self) -> "GeneratedTask":
        """The task on inputs that select the second of two."""
        return self._on(self.marks, self.dials.markers)

    def _on(self, allowed: tuple[Value, ...], count: int) -> "GeneratedTask":
        if self.dials.tasks != 2:
            raise ValueError(f"Expected two tasks in case {self.case_id!r}, found one.")
        return replace(self, prefix=(allowed,) * count)


def generate(seed: int, dials: Dials | None = None, *, recipe: Recipe = RECIPE) -> GeneratedTask:
    """Draw a random task.

    The same seed and dials give the same task everywhere, and its id says both, so that it can be
    named like a declared task: `find_task("generated-7-hops=2")`. Whether it is any good is a
    question for `find_problems`.

    Args:
        seed: the seed of the draw.
        dials: the settings; the default is one task of one fetch.
        recipe: the settings that a model of it is trained with.

    Raises:
        TypeError: if the seed is not an int, or the dials are not `Dials`.
        ValueError: if the seed is negative, or the program needs a larger model than the dials say.
    """
    dials = Dials() if dials is None else dials
    if type(seed) is not int or not isinstance(dials, Dials):
        raise TypeError(f"Expected an int as the seed, and Dials; got {seed!r} and {dials!r}.")
    if seed < 0:
        raise ValueError(f"Expected a seed of at least 0, got {seed}.")
    rng = random.Random(_key(seed, dials))
    program, marks = make_program(dials, rng)
    lowering = lower(program)
    n_layers, n_heads = (
        dials.n_layers or lowering.n_layers,
        dials.n_heads or max(4, lowering.n_heads),
    )
    if n_layers < lowering.n_layers or n_heads < lowering.n_heads:
        raise ValueError(
            f"Expected dials with n_layers of at least {lowering.n_layers} and n_heads of at least "
            f"{lowering.n_heads}, which the program needs, got {n_layers} and {n_heads}."
        )
    length = dials.length + 1
    return GeneratedTask(
        case_id=generated_id(seed, dials),
        description=f"A random task: seed {seed}{', ' if dials.text else ''}{dials.text}.",
        program=program,
        vocab=tuple(range(dials.n_tokens)),
        min_seq_len=length,
        max_seq_len=length,
        n_layers=n_layers,
        n_heads=n_heads,
        d_model=dials.d_model,
        attention="bidirectional",
        recipe=recipe,
        moved=_scatter(lowering, n_layers, n_heads, rng) if dials.scattered else (),
        releases=(),
        seed=seed,
        dials=dials,
        marks=marks if dials.tasks == 2 else (),
    )


def silence(recipe: Recipe, stages: Iterable[SilentStage]) -> Recipe:
    """A recipe, and then stages that silence what is outside."""
    for stage in stages:
        recipe = then_silence(recipe, **stage._asdict())
    return recipe


def _scatter(
    lowering: Lowering, n_layers: int, n_heads: int, rng: random.Random
) -> tuple[tuple[Node, tuple[Node, ...]], ...]:
    """Random places for the program's components: layers keep their order, heads need not."""
    layers = sorted(shuffled(range(n_layers), rng)[: lowering.n_layers])
    heads = [shuffled(range(n_heads), rng) for _ in layers]

    def place(node: Node) -> Node:
        assert node.layer is not None
        head = None if node.head is None else heads[node.layer][node.head]
        return Node(node.kind, layers[node.layer], head)

    return tuple((node, (place(node),)) for node in lowering.nodes)


def _key(seed: int, dials: Dials) -> int:
    """A number for the draw, from a digest of the seed and of the dials not at their defaults.

    So a dial that is added later changes no task that was drawn before.
    """
    return int(hashlib.sha256(f"seed={seed}; {dials.text}".encode()).hexdigest(), 16)
