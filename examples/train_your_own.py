"""Declare a task, train a model whose circuit is known, and look for the circuit in it.

    python examples/train_your_own.py

The task: was the previous letter a vowel? As a program it takes two steps. An MLP distinguishes
vowels from other letters, and a head fetches the answer from the previous position. So the circuit
is known before there is a model: the embedding feeds the first layer's MLP, the MLP and the
positions feed one head of the second layer, and that head feeds the output. The other seven heads
and the second MLP must have no effect. Training produces a transformer that computes the task in
exactly this way.

Then every edge of the model is patched alone, and the effects are scored against the circuit: an
area of 1 means that every edge of the circuit has a larger effect than every other edge. The edges
through which the head reads its position are left out: both inputs of a pair have the same
positions, so resampling cannot see them.
"""

import interpbench_jax as ib
from interpbench_jax.rasp import Map, shift, tokens
from interpbench_jax.training import EpochRecord


def is_vowel(letter: str) -> bool:
    """Return the feature that the MLP has to learn."""
    return letter in "aeiou"


TASK = ib.RaspTask(
    case_id="after-vowel",
    description="Whether the previous letter is a vowel.",
    program=shift(Map(is_vowel, tokens, name="is_vowel"), 1),
    vocab=tuple("aeinst"),
    max_seq_len=8,
    d_model=12,
    recipe=ib.Recipe(n_samples=16_000, n_validation=2_000),
)


def main() -> None:
    """Train a model, sweep its edges, score the effects and print the areas."""
    print(f"{TASK.description}\n\n{TASK.program}\n\nThe circuit:")
    for edge in sorted(map(str, TASK.complete_circuit.in_universe("head"))):
        print(f"  {edge}")

    trained = ib.train(TASK, seeds=2, progress=report)
    found = trained.accuracies
    print(
        f"Seed {trained.seed} after epoch {trained.epoch}: accuracy {found.accuracy:.2%}, under "
        f"interchange {found.lowest_iia:.2%}, with an outside node replaced "
        f"{found.lowest_strict:.2%}."
    )

    case = trained.case
    pairs = TASK.sample(1_000, seed=0, split="test")
    result = ib.sweep_edges(case.model, pairs)
    print(f"\nROC-AUC of the effects of {len(result.effects)} edges against the circuit:")
    for universe, area in ib.edge_auc_by_universe(result, TASK.complete_circuit).items():
        print(f"  {universe:<14} {area:.3f}")


def report(records: tuple[EpochRecord, ...], epochs: int) -> None:
    """Print the progress of each seed."""
    shares = ", ".join(f"seed {record.seed} {record.lowest:.2%}" for record in records)
    print(f"Epoch {records[0].epoch} of at most {epochs}, lowest accuracy: {shares}", flush=True)


if __name__ == "__main__":
    main()
