"""What the tasks of the current release have in common."""

from collections.abc import Iterable

from interpbench_jax.cases.rasp_task import RaspTask
from interpbench_jax.config import AttentionDirection
from interpbench_jax.rasp import Value, Variable

# The numbers that most of these tasks read.
DIGITS = tuple(range(11))
LETTERS = ("a", "b", "c")


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
        note=note,
        releases=("current",),
    )
