"""TransformerLens's configs: fields that are read, ignored or refused."""

import json
import math
from dataclasses import asdict

import pytest

from interpbench_conversion.configs import IOI_CONFIG, convert_config
from interpbench_conversion.errors import UpstreamFormatError
from interpbench_jax.config import TransformerConfig
from tests.fixtures import CASE_IDS, UPSTREAM, read_upstream_case, requires_upstream

# Every field of TransformerLens 1.19's HookedTransformerConfig, with case 11's values.
GIVEN: dict[str, object] = {
    "n_layers": 2,
    "d_model": 12,
    "n_ctx": 10,
    "d_head": 3,
    "model_name": "custom",
    "n_heads": 4,
    "d_mlp": 48,
    "act_fn": "gelu",
    "d_vocab": 10,
    "eps": 1e-05,
    "use_attn_result": True,
    "use_attn_scale": True,
    "use_split_qkv_input": True,
    "use_hook_mlp_in": True,
    "use_attn_in": False,
    "use_local_attn": False,
    "original_architecture": None,
    "from_checkpoint": False,
    "checkpoint_index": None,
    "checkpoint_label_type": None,
    "checkpoint_value": None,
    "tokenizer_name": None,
    "window_size": None,
    "attn_types": None,
    "init_mode": "gpt2",
    "normalization_type": None,
    "device": "cpu",
    "n_devices": 1,
    "attention_dir": "causal",
    "attn_only": False,
    "seed": 0,
    "initializer_range": 0.1460593486680443,
    "init_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "positional_embedding_type": "standard",
    "final_rms": False,
    "d_vocab_out": 5,
    "parallel_attn_mlp": False,
    "rotary_dim": None,
    "n_params": 3456,
    "use_hook_tokens": False,
    "gated_mlp": False,
    "default_prepend_bos": True,
    "dtype": "torch.float32",
    "tokenizer_prepends_bos": None,
    "n_key_value_heads": None,
    "post_embedding_ln": False,
    "rotary_base": 10000,
    "trust_remote_code": False,
    "rotary_adjacent_pairs": False,
    "load_in_4bit": False,
    "num_experts": None,
    "experts_per_token": None,
}
CASE_11 = TransformerConfig(
    n_layers=2,
    n_heads=4,
    d_model=12,
    d_head=3,
    d_mlp=48,
    d_vocab=10,
    d_vocab_out=5,
    n_ctx=10,
    act_fn="gelu",
)
# Fields in which `HookedTransformer.from_pretrained("gpt2").cfg`, with its layer norms folded,
# differs, and the four numbers that upstream's IOI trainer then changes.
IOI: dict[str, object] = GIVEN | {
    "n_layers": 6,
    "n_heads": 4,
    "d_model": 64,
    "d_head": 16,
    "d_mlp": 3072,
    "n_ctx": 1024,
    "d_vocab": 50257,
    "d_vocab_out": 50257,
    "act_fn": "gelu_new",
    "normalization_type": "LNPre",
    "model_name": "gpt2",
    "original_architecture": "GPT2LMHeadModel",
    "tokenizer_name": "gpt2",
    "tokenizer_prepends_bos": False,
    "use_attn_result": False,
    "use_split_qkv_input": False,
    "use_hook_mlp_in": False,
    "device": "cuda",
    "seed": None,
    "initializer_range": 0.02886751345948129,
    "n_params": 84934656,
}
# Fields that say how a model was made, where it runs, or which hooks it exposes.
INERT = {
    "device": "cuda:0",
    "dtype": "torch.float64",
    "init_mode": "xavier_normal",
    "init_weights": False,
    "initializer_range": -1.0,
    "model_name": "gpt2",
    "n_devices": 2,
    "n_params": 1,
    "original_architecture": "GPT2LMHeadModel",
    "rotary_base": 500000,
    "seed": None,
    "tokenizer_name": "gpt2",
    "use_attn_in": True,
    "use_attn_result": False,
    "use_hook_mlp_in": False,
    "use_split_qkv_input": False,
}
# Fields of TransformerLens 1.19 or 2 that change the computation, with unsupported values.
NOT_IMPLEMENTED = [
    ("attn_only", True),
    ("attn_scores_soft_cap", 50.0),
    ("attn_types", ["global", "local"]),
    ("experts_per_token", 2),
    ("final_rms", True),
    ("gated_mlp", True),
    ("load_in_4bit", True),
    ("n_key_value_heads", 2),
    ("num_experts", 4),
    ("output_logits_soft_cap", 30.0),
    ("parallel_attn_mlp", True),
    ("positional_embedding_type", "rotary"),
    ("positional_embedding_type", "shortformer"),
    ("post_embedding_ln", True),
    ("relative_attention_num_buckets", 32),
    ("rotary_dim", 64),
    ("scale_attn_by_inverse_layer_idx", True),
    ("tie_word_embeddings", True),
    ("use_local_attn", True),
    ("use_NTK_by_parts_rope", True),
    ("use_normalization_before_and_after", True),
    ("use_qk_norm", True),
    ("window_size", 256),
    # TransformerLens never writes 0 or 1 for a Boolean.
    ("attn_only", 0),
    ("gated_mlp", None),
]
REQUIRED = (
    "n_layers",
    "n_heads",
    "d_model",
    "d_head",
    "d_mlp",
    "d_vocab",
    "d_vocab_out",
    "n_ctx",
    "act_fn",
)


def test_case_11() -> None:
    assert convert_config(GIVEN, "cfg.pkl") == CASE_11


@requires_upstream
@pytest.mark.parametrize("case_id", CASE_IDS)
def test_every_case_of_release_1(case_id: str) -> None:
    given = read_upstream_case(case_id)["transformer_cfg"]
    config = convert_config(given, "cfg.pkl")
    for name in (*REQUIRED, "normalization_type", "attention_dir", "use_attn_scale", "eps"):
        assert getattr(config, name) == given[name], name
    assert (config.n_layers, config.n_heads) == (2, 4)
    assert config.attention_dir == ("bidirectional" if case_id in ("13", "18") else "causal")


@pytest.mark.parametrize(
    "changes",
    [
        {"act_fn": "relu"},
        {"act_fn": "gelu_new"},
        {"normalization_type": "LNPre"},
        {"attention_dir": "bidirectional"},
        {"use_attn_scale": False},
        {"eps": 1e-6},
        {"n_layers": 6, "d_vocab": 50257},
    ],
    ids=str,
)
def test_what_is_implemented_is_kept(changes: dict[str, object]) -> None:
    config = convert_config(GIVEN | changes, "cfg.pkl")
    assert {name: getattr(config, name) for name in changes} == changes


@pytest.mark.parametrize(("name", "value"), INERT.items())
def test_what_does_not_matter_changes_nothing(name: str, value: object) -> None:
    assert convert_config(GIVEN | {name: value}, "cfg.pkl") == CASE_11


@pytest.mark.parametrize(("name", "value"), NOT_IMPLEMENTED)
def test_what_is_not_implemented_is_named(name: str, value: object) -> None:
    with pytest.raises(UpstreamFormatError, match=rf"cfg\.pkl: expected {name}=.*, got .* not"):
        convert_config(GIVEN | {name: value}, "cfg.pkl")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("act_fn", "solu_ln"),
        ("act_fn", "silu"),
        ("normalization_type", "LN"),
        ("normalization_type", "RMSPre"),
        ("attention_dir", "none"),
        ("use_attn_scale", 1),
        ("d_head", 3.0),
        ("d_mlp", None),
        ("d_vocab_out", -1),
        ("eps", math.nan),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_values_outside_our_config_are_named(name: str, value: object) -> None:
    with pytest.raises(UpstreamFormatError, match=rf"cfg\.pkl: .*Expected {name}"):
        convert_config(GIVEN | {name: value}, "cfg.pkl")


@pytest.mark.parametrize("name", ["sink_tokens", "n_layer", ""])
def test_an_unknown_field_is_named(name: str) -> None:
    message = rf"cfg\.pkl: expected the fields of .*, got \['{name}'\] too"
    with pytest.raises(UpstreamFormatError, match=message):
        convert_config(GIVEN | {name: None}, "cfg.pkl")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_field_is_named(name: str) -> None:
    given = {key: value for key, value in GIVEN.items() if key != name}
    with pytest.raises(UpstreamFormatError, match=rf"cfg\.pkl: .*missing: \['{name}'\]"):
        convert_config(given, "cfg.pkl")


def test_a_missing_normalization_is_not_taken_for_none() -> None:
    # TransformerLens's own default is "LN".
    given = {key: value for key, value in GIVEN.items() if key != "normalization_type"}
    with pytest.raises(UpstreamFormatError, match="normalization_type"):
        convert_config(given, "cfg.pkl")


# attn_scale, a field of TransformerLens 2


@pytest.mark.parametrize("scale", [None, -1.0, -1, math.sqrt(3), float(f"{math.sqrt(3):.8g}")])
def test_the_usual_attn_scale_is_accepted(scale: object) -> None:
    assert convert_config(GIVEN | {"attn_scale": scale}, "cfg.pkl") == CASE_11


@pytest.mark.parametrize("scale", [1.0, 3.0, 0.0, math.nan, "3", 1.732])
def test_another_attn_scale_is_named(scale: object) -> None:
    message = rf"cfg\.pkl: expected attn_scale to be the square root of d_head, .*={scale!r}"
    with pytest.raises(UpstreamFormatError, match=message):
        convert_config(GIVEN | {"attn_scale": scale}, "cfg.pkl")


def test_attn_scale_is_not_used_where_there_is_none() -> None:
    given = GIVEN | {"attn_scale": 1.0, "use_attn_scale": False}
    assert not convert_config(given, "cfg.pkl").use_attn_scale


def test_attn_scale_without_a_head_width_is_refused() -> None:
    given = {key: value for key, value in GIVEN.items() if key != "d_head"}
    with pytest.raises(UpstreamFormatError, match=r"missing: \['d_head'\]"):
        convert_config(given | {"attn_scale": 2.0}, "cfg.pkl")


# IOI


def test_a_config_of_ioi_is_read() -> None:
    assert convert_config(IOI, "ll_model_cfg.pkl") == IOI_CONFIG


def test_a_config_of_ioi_in_evaluation_is_the_same() -> None:
    hooks = dict.fromkeys(("use_attn_result", "use_split_qkv_input", "use_hook_mlp_in"), True)
    assert convert_config(IOI | hooks, "ll_model_cfg.pkl") == IOI_CONFIG


@requires_upstream
def test_the_config_of_ioi_is_upstreams() -> None:
    facts = json.loads((UPSTREAM / "ioi" / "facts.json").read_text(encoding="utf-8"))
    expected = facts["transformer_cfg"]
    assert expected.pop("positional_embedding_type") == "standard"
    config = asdict(IOI_CONFIG)
    assert config.pop("use_attn_scale") is True
    assert config.pop("pad_token") is None  # TransformerLens has none
    assert config == expected
