"""The config's ranges, choices and JSON."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench_jax.config import TransformerConfig
from tests.fixtures import tiny_config

SIZES = ("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "d_vocab", "d_vocab_out", "n_ctx")

configs = st.builds(
    TransformerConfig,
    **{name: st.integers(1, 1024 if name in SIZES[:2] else 1 << 20) for name in SIZES},
    act_fn=st.sampled_from(["gelu", "gelu_new", "relu"]),
    normalization_type=st.sampled_from(["LNPre", None]),
    attention_dir=st.sampled_from(["causal", "bidirectional"]),
    use_attn_scale=st.booleans(),
    eps=st.floats(0, 1e300),
)


def config_text(**changes: object) -> str:
    return json.dumps(json.loads(tiny_config().to_json()) | changes)


def without(name: str) -> str:
    return json.dumps({k: v for k, v in json.loads(config_text()).items() if k != name})


@given(configs)
def test_json_round_trip(config: TransformerConfig) -> None:
    text = config.to_json()
    again = TransformerConfig.from_json(text)
    assert again == config and hash(again) == hash(config)
    assert again.to_json() == text


@given(configs)
def test_dict_round_trip(config: TransformerConfig) -> None:
    assert TransformerConfig.from_dict(dataclasses.asdict(config)) == config


def test_defaults() -> None:
    config = tiny_config()
    assert config.normalization_type is None
    assert config.attention_dir == "causal"
    assert config.use_attn_scale is True
    assert config.eps == 1e-5


def test_defaults_may_be_left_out_of_json() -> None:
    assert TransformerConfig.from_json(without("eps")) == tiny_config()


def test_configs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_config().n_layers = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_causal_and_regression() -> None:
    assert tiny_config().is_causal and not tiny_config(attention_dir="bidirectional").is_causal
    assert tiny_config(d_vocab_out=1).is_regression and not tiny_config().is_regression


def most_of(name: str) -> int:
    return 1024 if name in ("n_layers", "n_heads") else 1 << 20


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("size", [0, -1, (1 << 20) + 1, 2.0, True, "2", None])
@pytest.mark.usefixtures("unchecked")
def test_sizes_out_of_range_are_refused(name: str, size: object) -> None:
    message = f"Expected {name} to be from 1 to {most_of(name)}, got {size!r}"
    with pytest.raises(ValueError, match=message):
        tiny_config(**{name: size})


@pytest.mark.parametrize("name", SIZES)
def test_the_ends_of_the_range_are_in_it(name: str) -> None:
    assert getattr(tiny_config(**{name: 1}), name) == 1
    assert getattr(tiny_config(**{name: most_of(name)}), name) == most_of(name)
    with pytest.raises(ValueError, match=f"Expected {name} to be from 1 to"):
        tiny_config(**{name: most_of(name) + 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("act_fn", "silu"),
        ("act_fn", None),
        ("act_fn", ["gelu"]),
        ("normalization_type", "LN"),
        ("normalization_type", False),
        ("attention_dir", "left"),
        ("attention_dir", None),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_other_choices_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"Expected {name} to be one of .* nothing else is impl"):
        tiny_config(**{name: value})


@pytest.mark.parametrize("value", [1, 0, None, "true"])
@pytest.mark.usefixtures("unchecked")
def test_other_attn_scales_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="Expected use_attn_scale to be true or false, got"):
        tiny_config(use_attn_scale=value)


@pytest.mark.parametrize(
    "value",
    [
        *(-1e-9, math.inf, math.nan, True, None, "1e-5"),
        pytest.param(10**400, id="400 digits"),
        pytest.param(10**5000, id="5000 digits"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_other_eps_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="Expected eps to be a finite number of at least 0, got"):
        tiny_config(eps=value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected a config as JSON, got text that is not"),
        ("{'n_layers': 2}", "Expected a config as JSON, got text that is not"),
        ("[" * 100_000, "Expected a config as JSON, got text that is not"),
        ("[]", "Expected a config as a JSON object, got a list"),
        ("{}", '"format": "interpbench-transformer"'),
        (config_text(format="interpbench-case"), '"format": "interpbench-transformer"'),
        (config_text(version=2), "comes from a newer release"),
        (config_text(rotary_dim=4), r"unknown: \['rotary_dim'\], missing: \[\]"),
        (without("d_head"), r"unknown: \[\], missing: \['d_head'\]"),
        (without("act_fn"), r"missing: \['act_fn'\]"),
        (config_text(n_layers="2"), "Expected n_layers to be from 1 to 1024, got '2'"),
        (config_text(act_fn="solu_ln"), "Expected act_fn to be one of"),
        (config_text(eps=math.nan), "Expected eps to be a finite number"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_text_that_is_no_config_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransformerConfig.from_json(text)
