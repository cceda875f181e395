"""What the tasks of the current release have in common."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.cases.recipe import Recipe, then_silence
from interpbench_jax.cases.sequences import Oversampled
from interpbench_jax.config import AttentionDirection
from interpbench_jax.rasp import Value, Variable

# The numbers that most of these tasks read.
DIGITS = tuple(range(11))
LETTERS = ("a", "b", "c")

LONGER = Recipe(epochs=20, note="More epochs, so that all that is outside falls silent.")
STEPWISE = Recipe(epochs=30, note="More epochs, because heads are learned before what reads them.")
FEW_INPUTS = Recipe(
    epochs=60, note="More epochs, because there are few inputs and an epoch has few steps."
)
_FEW_STEPS = "More epochs, because with few inputs an epoch has few steps"
_ARE_TOLD = (
    "are told where to attend, because counting asks for attention that is even over all "
    "that counts"
)
COUNTS_OF_FEW_INPUTS = then_silence(
    Recipe(epochs=120, attention_weight=10.0, note=f"{_FEW_STEPS}; and heads {_ARE_TOLD}."),
    epochs=60,
    learning_rate=2e-3,
)
COUNTS_WITHOUT_MARGIN = then_silence(
    then_silence(
        Recipe(
            epochs=100,
            attention_weight=10.0,
            margin=None,
            target_loss=1e-9,
            note=(
                f"{_FEW_STEPS}; heads {_ARE_TOLD}; and cross-entropy, because logits a margin "
                "apart were not learned."
            ),
        ),
        epochs=60,
        learning_rate=2e-3,
    ),
    epochs=60,
    learning_rate=1e-3,
    edge_weight=30.0,
)
_SHARES = Recipe(
    epochs=14,
    attention_weight=10.0,
    margin=None,
    target_loss=1e-9,
    note=(
        f"Heads {_ARE_TOLD}; and cross-entropy, which leaves it to the model how far apart shares "
        "lie."
    ),
)
SHARES_OF_COUNTS = replace(
    then_silence(_SHARES, epochs=12, learning_rate=2e-3),
    hides_tokens=True,
    note=(
        f"{_SHARES.note} Then a stage in which edges weigh more, and tokens are hidden, to silence "
        "those outside."
    ),
)
FIRST_OCCURRENCES = Recipe(
    epochs=30,
    attention_weight=10.0,
    hides_tokens=True,
    outside_scale=0.01,
    note=(
        f"{_FEW_STEPS}; and heads are told where to attend, tokens are hidden, and nodes outside "
        "start quiet, because a model of four layers has other ways to the answer."
    ),
)
COUNTS_BY_ORDER = then_silence(
    then_silence(
        then_silence(
            then_silence(
                Recipe(
                    epochs=50,
                    attention_weight=10.0,
                    note=(
                        "More epochs, because heads are learned before what reads them; and heads "
                        "are told where to attend, as well as so few dimensions can."
                    ),
                ),
                epochs=20,
                learning_rate=2e-3,
            ),
            epochs=70,
            learning_rate=3e-3,
        ),
        epochs=60,
        edge_weight=30.0,
    ),
    epochs=10,
    learning_rate=1e-3,
    edge_weight=30.0,
)
MANY_OUTPUTS = Recipe(
    epochs=40, note="More epochs: so many outputs in two dimensions take long to tell apart."
)


def current_task(
    case_id: str,
    description: str,
    program: Variable,
    vocab: Iterable[Value] = DIGITS,
    *,
    d_model: int = 4,
    n_layers: int = 2,
    max_seq_len: int = 10,
    attention: AttentionDirection = "causal",
    varies_length: bool = False,
    oversampled: Oversampled | None = None,
    recipe: Recipe = LONGER,
    note: str = "",
) -> RaspTask:
    """A task of the current release, whose tasks mostly have the same shape and tokens.

    Args:
        case_id: the case's id.
        description: what the model outputs at each position.
        program: the program; a `Map` of the tokens reads each token on its own.
        vocab: the tokens.
        d_model: width of the model's residual stream.
        n_layers: number of layers of the model.
        max_seq_len: positions of the longest input, BOS counted.
        attention: the direction of attention.
        varies_length: whether the two inputs of a pair have different lengths; see `RaspTask`.
        oversampled: rare inputs that half of the draws are to be; see `RaspTask`.
        recipe: the settings that our model is trained with.
        note: facts to know before comparing with upstream.
    """
    return RaspTask(
        case_id=case_id,
        description=description,
        program=program,
        vocab=tuple(vocab),
        max_seq_len=max_seq_len,
        d_model=d_model,
        n_layers=n_layers,
        attention=attention,
        varies_length=varies_length,
        oversampled=oversampled,
        recipe=recipe,
        note=note,
        releases=("current",),
    )


# Tasks whose attention looks both ways, and those whose inputs vary in length besides.
two_way_task = partial(current_task, attention="bidirectional", recipe=STEPWISE)
length_task = partial(two_way_task, varies_length=True)
