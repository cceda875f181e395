"""Tasks and recipes so small that training takes longer to compile than to run."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from interpbench_jax.cases import RASP_CASES, IoiTask, Recipe
from interpbench_jax.config import TransformerConfig
from interpbench_jax.rasp import Map, lookup, tokens

# One MLP has to learn it.
MOODS = dataclasses.replace(RASP_CASES["36"], case_id="moods", n_layers=1, n_heads=2, max_seq_len=5)
# The same shape and as many inputs, but more tokens and fewer classes.
LETTERS = dataclasses.replace(
    MOODS,
    case_id="letters",
    program=Map(lookup({"x": "end", "y": "end", "z": "end", "a": "start"}), tokens, name="place"),
    vocab=("a", "x", "y", "z"),
)
# Heads and MLPs in two layers.
TREND = dataclasses.replace(RASP_CASES["13"], max_seq_len=6)
SHARES = RASP_CASES["3"]  # a regression
# Inputs of every length, with padding.
VARIED = dataclasses.replace(RASP_CASES["8"], max_seq_len=6, vocab=("a", "b", "c"))


@dataclass(frozen=True, kw_only=True)
class SmallIoi(IoiTask):
    """Indirect objects for a model of the fewest layers and heads that have its components."""

    @cached_property
    def config(self) -> TransformerConfig:
        return TransformerConfig(
            n_layers=5,
            n_heads=2,
            d_model=8,
            d_head=4,
            d_mlp=6,
            d_vocab=self.vocabulary.size,
            d_vocab_out=self.vocabulary.size,
            n_ctx=self.max_seq_len,
            act_fn="gelu_new",
            normalization_type="LNPre",
        )


# Judged at the last position alone; and trained on the others too.
PROMPTS = SmallIoi(case_id="prompts", description="The other name.")
SENTENCES = SmallIoi(case_id="sentences", description="The next token.", predicts_next_token=True)

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
