"""The configuration of one transformer: its shape and its options."""

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import Literal, get_args

from interpbench_jax.jsontext import check_format, parse_json_object
from interpbench_jax.texts import shown

Activation = Literal["gelu", "gelu_new", "relu"]
Normalization = Literal["LNPre"]
AttentionDirection = Literal["causal", "bidirectional"]

_FORMAT = "interpbench-transformer"


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A frozen, hashable description of a model, in TransformerLens's terms.

    Attributes:
        n_layers: number of blocks, each attention then MLP.
        n_heads: number of attention heads per block.
        d_model: width of the residual stream.
        d_head: width of one head's queries, keys and values.
        d_mlp: hidden width of an MLP.
        d_vocab: number of input tokens.
        d_vocab_out: number of outputs per position: classes, or 1 for a regression.
        n_ctx: the largest number of positions that an input can have.
        act_fn: `"gelu"` (erf), `"gelu_new"` (tanh) or `"relu"`.
        normalization_type: `"LNPre"` (center and scale, no learned weights) before every
            reader of the residual stream, or None.
        attention_dir: `"causal"` or `"bidirectional"`.
        use_attn_scale: whether attention scores are divided by the square root of `d_head`.
        eps: added to the variance inside a layer norm's square root.
        pad_token: id of the padding token, to which no position attends, so that a padded row
            gives, at its real positions, what the row gives alone. None if padding is read like
            any other token, as in TransformerLens.

    Raises:
        ValueError: if a value is out of range or not implemented.
    """

    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    d_vocab: int
    d_vocab_out: int
    n_ctx: int
    act_fn: Activation
    normalization_type: Normalization | None = None
    attention_dir: AttentionDirection = "causal"
    use_attn_scale: bool = True
    eps: float = 1e-5
    pad_token: int | None = None

    def __post_init__(self) -> None:
        for name in _SIZES:
            size = getattr(self, name)
            most = _MOST_OF.get(name, _LARGEST)
            if type(size) is not int or not 0 < size <= most:
                raise ValueError(f"Expected {name} to be from 1 to {most}, got {shown(size)}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"Expected {name} to be one of {choices}, got {shown(getattr(self, name))}; "
                    "nothing else is implemented."
                )
        if type(self.use_attn_scale) is not bool:
            raise ValueError(
                f"Expected use_attn_scale to be true or false, got {shown(self.use_attn_scale)}."
            )
        # JSON can contain whole numbers of any size.
        if type(self.eps) not in (int, float) or not 0 <= self.eps <= sys.float_info.max:
            raise ValueError(
                f"Expected eps to be a finite number of at least 0, got {shown(self.eps)}."
            )
        pad = self.pad_token
        if pad is not None and (type(pad) is not int or not 0 <= pad < self.d_vocab):
            raise ValueError(
                f"Expected pad_token to be an id from 0 to {self.d_vocab - 1} or null, "
                f"got {shown(pad)}."
            )

    @property
    def is_causal(self) -> bool:
        """Whether a position attends only to itself and earlier ones."""
        return self.attention_dir == "causal"

    @property
    def is_regression(self) -> bool:
        """Whether the output is one number per position rather than classes."""
        return self.d_vocab_out == 1

    def to_json(self) -> str:
        """The config as JSON text; `from_json` reads it back unchanged."""
        return json.dumps({"format": _FORMAT, "version": 1, **dataclasses.asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "TransformerConfig":
        """Read a config that `to_json` wrote.

        Raises:
            ValueError: if the text is not a config, or has a key or a value that is not
                implemented; the message names it.
        """
        data = parse_json_object(text, "a config")
        check_format(data, _FORMAT)
        given = {key: value for key, value in data.items() if key not in ("format", "version")}
        return cls.from_dict(given)

    @classmethod
    def from_dict(cls, given: dict[str, object]) -> "TransformerConfig":
        """Create a config from plain values, with every required key and no unknown one.

        Raises:
            ValueError: if a key is missing or unknown, or a value is not implemented.
        """
        fields = dataclasses.fields(cls)
        unknown = sorted(set(given) - {field.name for field in fields})
        required = {field.name for field in fields if field.default is dataclasses.MISSING}
        missing = sorted(required - set(given))
        if unknown or missing:
            raise ValueError(
                f"Expected the config keys of TransformerConfig; unknown: {shown(unknown)}, "
                f"missing: {missing}."
            )
        return cls(**given)  # pyright: ignore[reportArgumentType]  # __post_init__ checks each


_SIZES = (
    "n_layers",
    "n_heads",
    "d_model",
    "d_head",
    "d_mlp",
    "d_vocab",
    "d_vocab_out",
    "n_ctx",
)
_CHOICES = {
    "act_fn": get_args(Activation),
    "normalization_type": (*get_args(Normalization), None),
    "attention_dir": get_args(AttentionDirection),
}
_LARGEST = 1 << 20
_MOST_OF = {"n_layers": 1024, "n_heads": 1024}
