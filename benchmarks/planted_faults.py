"""Train models with a fault that accuracy does not show, and certify them.

    python -m benchmarks.planted_faults [--n 1000] [--json]

Each model gives the right answers. Its fault was learned: by gradient descent from a packaged
model or, for the copies that are not read, by our former training, node by node.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

import interpbench_jax as ib
from interpbench_jax.case import Case
from interpbench_jax.cases import RASP_CASES, Recipe, Task
from interpbench_jax.certificates import Certificate
from interpbench_jax.masks import edge_mask
from interpbench_jax.model import Transformer
from interpbench_jax.rasp import Aggregate, Comparison, Select, SequenceMap, indices, tokens
from interpbench_jax.sites import Edge, parse_edge
from interpbench_jax.training import train
from interpbench_jax.training.losses import logits_loss
from interpbench_jax.training.optimizer import make_optimizer

BATCH = 128
Weights = Mapping[str, jax.Array]
BY_EDGES = Recipe(epochs=12)
# Training without edge cuts, as in earlier versions: one variable at a time, with cross-entropy.
BY_NODES = replace(
    BY_EDGES, edge_weight=0.0, margin=None, sampling="example", source_gradient=False
)


@dataclass(frozen=True)
class Fault:
    """A model with a fault.

    Attributes:
        name: the fault in words.
        task: the task that the model is meant to solve.
        make: a function that trains the model.
        reason: a text that one of its certificate's failures must contain.
    """

    name: str
    task: Task
    make: Callable[[], Case]
    reason: str


def leak(
    case: Case, edges: Iterable[Edge], share: float, scale: float = 1.0, steps: int = 3000
) -> Case:
    """Train a model in which part of every answer comes through edges outside the circuit.

    Args:
        case: a model that has its circuit.
        edges: the edges, each from one writer to one reader.
        share: the share of the centred logits that follows the other run when the edges are cut.
        scale: a factor by which all of the model's logits are multiplied as well.
        steps: the number of gradient descent steps.
    """
    model, shape = case.model, (case.config.n_layers, case.config.n_heads)
    mask = 1 - jnp.asarray(edge_mask(edges, *shape))
    pairs = case.sample(20_000, seed=0, split="train")
    inputs = jnp.asarray(pairs.input_ids)

    def loss(weights: Weights, batch: jax.Array) -> jax.Array:
        other = jnp.roll(batch, 1, axis=0)
        taught = Transformer(case.config, weights)
        wanted = scale * model(batch)
        outputs = ib.replacement_outputs(taught, other)
        cut = ib.masked_forward(taught, batch, mask, outputs)
        mixed = (1 - share) * wanted + share * scale * model(other)
        return (logits_loss(taught(batch), wanted) + logits_loss(cut, mixed))[:, 1:].mean()

    weights = descend(loss, case.weights, inputs, steps)
    return replace(case, weights={name: np.asarray(array) for name, array in weights.items()})


def descend(
    loss: Callable[[Weights, jax.Array], jax.Array],
    weights: Mapping[str, np.ndarray],
    inputs: jax.Array,
    steps: int,
) -> Weights:
    """Return the weights after `steps` steps of Adam, whose learning rate falls to 0."""
    optimizer = make_optimizer(Recipe(epochs=1), steps)

    @jax.jit
    def run(start: Weights) -> Weights:
        def step(carry: tuple[Weights, optax.OptState], key: jax.Array):
            now, state = carry
            rows = jax.random.randint(key, (BATCH,), 0, len(inputs))
            value, gradient = jax.value_and_grad(loss)(now, inputs[rows])
            change, state = optimizer.update(gradient, state, now, value=value)
            return (cast("Weights", optax.apply_updates(now, change)), state), None

        keys = jax.random.split(jax.random.key(0), steps)
        (end, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), keys)
        return end

    return run({name: jnp.asarray(array) for name, array in weights.items()})


def _agreed(first: str, second: str) -> str:
    return first if first == second else "?"


def _settled(agreed: str, third: str) -> str:
    return third if agreed == "?" else agreed


def copies_task() -> Task:
    """Return a task whose output is the majority of three equal copies of each token.

    If one copy is interchanged alone, the other two outvote it and nothing should change. If two
    are interchanged, they decide the answer.
    """
    first, second, third = (
        Aggregate(Select(indices, indices, Comparison.EQ), tokens, name=name)
        for name in ("first", "second", "third")
    )
    agreed = SequenceMap(_agreed, first, second, name="agreed")
    return replace(
        RASP_CASES["21"],
        case_id="copies",
        description="Each token, as the majority of three copies of it.",
        program=SequenceMap(_settled, agreed, third, name="majority"),
        recipe=BY_EDGES,
        note="",
    )


def faults() -> tuple[Fault, ...]:
    """Return the faults, each with the reason that its certificate must give."""
    routed = parse_edge("hook_embed -> blocks.1.hook_mlp_in")
    scaled = parse_edge("blocks.1.hook_mlp_out -> blocks.1.hook_resid_post")
    copies = copies_task()
    return (
        Fault(
            "a variable also takes another edge",
            RASP_CASES["36"],
            lambda: leak(ib.load_case("36"), [routed], 0.25),
            f"{routed} is outside the circuit",
        ),
        Fault(
            "an MLP outside the circuit makes confident answers more confident",
            RASP_CASES["21"],
            lambda: leak(ib.load_case("21"), [scaled], 0.25, scale=4.0),
            f"{scaled} is outside the circuit",
        ),
        Fault(
            "none of three copies is read",
            copies,
            lambda: train(copies, recipe=BY_NODES).case,
            "IIA of first + ",
        ),
    )


def examine(fault: Fault, n: int) -> dict[str, object]:
    """Make a faulty model, certify it and return its row of the table."""
    return describe(ib.certify(fault.make(), n=n, task=fault.task), fault.name, fault.reason)


def describe(found: Certificate, name: str, reason: str) -> dict[str, object]:
    """Return a row of the table for one certificate."""
    failures = found.failures()
    separations = {m: found.edges.separation("qkv", m) for m in ("effect", "centred")}
    return {
        "fault": name,
        "accuracy": found.accuracy,
        "iia": found.lowest_iia,
        "strict": found.lowest_strict,
        "joint": found.lowest_joint,
        "edges": found.lowest_edge,
        **{
            f"outside_{measure}": None if each is None else each.outside_share
            for measure, each in separations.items()
        },
        "failures": list(failures),
        "is_caught": any(reason in failure for failure in failures),
    }


def main(arguments: list[str] | None = None) -> int:
    """Make and certify every fault and print the table; return 0 if each one is caught."""
    parser = argparse.ArgumentParser(description="Certify models with planted faults.")
    parser.add_argument("--n", type=int, default=1000, help="pairs per certificate")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = []
    for fault in faults():
        print(f"Making a model in which {fault.name} ...", file=sys.stderr)
        rows.append(examine(fault, options.n))
    copies = copies_task()
    sound = ib.certify(train(copies).case, n=options.n, task=copies)
    rows.append(describe(sound, "none: the copies, trained edge by edge", ""))
    is_right = all(row["is_caught"] for row in rows[:-1]) and not rows[-1]["failures"]
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print(_table(rows))
    return 0 if is_right else 1


def _table(rows: list[dict[str, object]]) -> str:
    lines = [
        "| fault | accuracy | IIA | strict | joint IIA | edges | out, metric | out, logits | "
        "failures | first failure |",
        "|---" * 10 + "|",
    ]
    for row in rows:
        shares = [_percent(row[name]) for name in ("accuracy", "iia", "strict", "joint", "edges")]
        outside = [_percent(row[f"outside_{measure}"]) for measure in ("effect", "centred")]
        failures = row["failures"]
        assert isinstance(failures, list)
        cells = (row["fault"], *shares, *outside, len(failures), *(failures[:1] or ["-"]))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _percent(share: object) -> str:
    return "-" if not isinstance(share, float) else f"{100 * share:.3g} %"


if __name__ == "__main__":
    sys.exit(main())
