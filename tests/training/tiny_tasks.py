"""Tasks and recipes so small that compiling takes longer than training."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from interpbench_jax.cases import RASP_CASES, IoiTask, Recipe
from interpbench_jax.config import TransformerConfig
from interpbench_jax.rasp import Map, lookup, tokens

# A single MLP has to learn the task.
MOODS = dataclasses.replace(RASP_CASES["36"], case_id="moods", n_layers=1, n_heads=2, max_seq_len=5)
# The same shape and number of inputs, but more tokens and fewer classes.
LETTERS = dataclasses.replace(
    MOODS,
    case_id="letters",
    program=Map(lookup({"x": "end", "y": "end", "z": "end", "a": "start"}), tokens, name="place"),
    vocab=("a", "x", "y", "z"),
)
# A task with heads and MLPs in two layers.
TREND = dataclasses.replace(RASP_CASES["13"], max_seq_len=6)
SHARES = RASP_CASES["3"]  # a regression
# Inputs of every length, with padding.
VARIED = dataclasses.replace(RASP_CASES["8"], max_seq_len=6, vocab=("a", "b", "c"))


@dataclass(frozen=True, kw_only=True)
class SmallIoi(IoiTask):
    """The IOI task for a model with the fewest layers and heads that contain its components."""

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


# Both are scored at the last position alone; SENTENCES is trained on the other positions too.
PROMPTS = SmallIoi(case_id="prompts", description="The other name.")
SENTENCES = SmallIoi(case_id="sentences", description="The next token.", predicts_next_token=True)

# So few steps that training is far from done; the rate is constant, so more epochs only extend it.
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
