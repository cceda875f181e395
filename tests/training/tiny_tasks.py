"""Tasks and recipes so small that training takes longer to compile than to run."""

import dataclasses

from interpbench_jax.cases import CASES, Recipe
from interpbench_jax.rasp import Map, lookup, tokens

# One MLP has to learn it.
MOODS = dataclasses.replace(CASES["36"], case_id="moods", n_layers=1, n_heads=2, max_seq_len=5)
# The same shape and as many inputs, but more tokens and fewer classes.
LETTERS = dataclasses.replace(
    MOODS,
    case_id="letters",
    program=Map(lookup({"x": "end", "y": "end", "z": "end", "a": "start"}), tokens, name="place"),
    vocab=("a", "x", "y", "z"),
)
# Heads and MLPs in two layers.
TREND = dataclasses.replace(CASES["13"], max_seq_len=6)
SHARES = CASES["3"]  # a regression

# Of so few steps that a model is far from done; constant, so that more epochs only add to it.
SHORT = Recipe(
    schedule="none",
    epochs=3,
    batch_size=16,
    n_samples=80,
    n_validation=40,
    sampling="subsets",
    target=1.0,
    target_loss=None,
    learning_rate=1e-3,
)
