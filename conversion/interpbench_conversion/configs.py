"""Strict conversion of TransformerLens's configs into ours."""

import math
from collections.abc import Mapping

from interpbench_conversion.errors import UpstreamFormatError
from interpbench_jax.config import TransformerConfig

_IMPLEMENTED = (
    "n_layers",
    "n_heads",
    "d_model",
    "d_head",
    "d_mlp",
    "d_vocab",
    "d_vocab_out",
    "n_ctx",
    "act_fn",
    "normalization_type",
    "attention_dir",
    "use_attn_scale",
    "eps",
)

# Each of these changes what the model computes; we implement the one value that upstream uses.
_FIXED: Mapping[str, tuple[object, ...]] = {
    "attn_only": (False,),
    "attn_scores_soft_cap": (-1, None),
    "attn_types": (None,),
    "experts_per_token": (None,),
    "final_rms": (False,),
    "gated_mlp": (False,),
    "load_in_4bit": (False,),
    "n_key_value_heads": (None,),
    "num_experts": (None,),
    "output_logits_soft_cap": (-1, None),
    "parallel_attn_mlp": (False,),
    "positional_embedding_type": ("standard",),
    "post_embedding_ln": (False,),
    "relative_attention_max_distance": (None,),
    "relative_attention_num_buckets": (None,),
    "rotary_dim": (None,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "tie_word_embeddings": (False,),
    "use_local_attn": (False,),
    "use_NTK_by_parts_rope": (False,),
    "use_normalization_before_and_after": (False,),
    "use_qk_norm": (False,),
    "window_size": (None,),
}

# None of these changes a trained model's logits: they say how it was initialized, where it came
# from, which optional hooks exist (ours all do), or tune a feature that is fixed above.
_INERT = frozenset(
    {
        "checkpoint_index",
        "checkpoint_label_type",
        "checkpoint_value",
        "decoder_start_token_id",
        "default_prepend_bos",
        "device",
        "dtype",
        "from_checkpoint",
        "init_mode",
        "init_weights",
        "initializer_range",
        "model_name",
        "n_devices",
        "n_params",
        "NTK_by_parts_factor",
        "NTK_by_parts_high_freq_factor",
        "NTK_by_parts_low_freq_factor",
        "NTK_original_ctx_len",
        "original_architecture",
        "rotary_adjacent_pairs",
        "rotary_base",
        "rotary_base_local",
        "seed",
        "tokenizer_name",
        "tokenizer_prepends_bos",
        "trust_remote_code",
        "ungroup_grouped_query_attention",
        "use_attn_in",
        "use_attn_result",
        "use_hook_mlp_in",
        "use_hook_tokens",
        "use_split_qkv_input",
    }
)


# The config that upstream's IOI trainer derives from GPT-2's. The trainer stores no config that can
# be read back, and release 1.0.0 has none for `ioi` and `ioi_next_token`: upstream rebuilds it.
# Source: cybershiptrooper/iit ed44cbf, tasks/ioi and utils/train_scripts.py; TransformerLens 1.19.
IOI_CONFIG = TransformerConfig(
    n_layers=6,
    n_heads=4,
    d_model=64,
    d_head=16,
    d_mlp=3072,
    d_vocab=50257,
    d_vocab_out=50257,
    n_ctx=1024,
    act_fn="gelu_new",
    normalization_type="LNPre",
)


def convert_config(given: Mapping[str, object], name: str) -> TransformerConfig:
    """Convert the fields of a `HookedTransformerConfig` into our config.

    Source: TransformerLens 1.19 and 2.x, `HookedTransformerConfig`.

    Args:
        given: every field, as `upstream_files.read_config` returns it.
        name: the file's name, for error messages.

    Raises:
        UpstreamFormatError: if a field is unknown, missing, or has a value that is not
            implemented; the message names it.
    """
    unknown = sorted(set(given) - set(_IMPLEMENTED) - set(_FIXED) - _INERT - {"attn_scale"})
    if unknown:
        raise UpstreamFormatError(
            f"{name}: expected the fields of TransformerLens's HookedTransformerConfig, got "
            f"{unknown} too; they may change what the model computes, so it was not converted."
        )
    for key, accepted in _FIXED.items():
        if key in given and not any(_same(given[key], value) for value in accepted):
            raise UpstreamFormatError(
                f"{name}: expected {key}={accepted[0]!r}, got {given[key]!r}, which is not "
                "implemented."
            )
    missing = sorted(set(_IMPLEMENTED) - set(given))
    if missing:
        raise UpstreamFormatError(
            f"{name}: expected every field of HookedTransformerConfig; missing: {missing}."
        )
    _check_attn_scale(given, name)
    try:
        return TransformerConfig.from_dict(
            {key: given[key] for key in _IMPLEMENTED if key in given}
        )
    except ValueError as error:
        raise UpstreamFormatError(f"{name}: {error}") from error


def _check_attn_scale(given: Mapping[str, object], name: str) -> None:
    """Check the attention scale, which TransformerLens 2 stores; -1 stands for the default."""
    scale, d_head = given.get("attn_scale"), given.get("d_head")
    if scale is None or _same(scale, -1.0) or given.get("use_attn_scale") is False:
        return
    fits = (
        isinstance(scale, int | float)
        and isinstance(d_head, int)
        and d_head > 0
        and math.isclose(scale, math.sqrt(d_head), rel_tol=1e-6)
    )
    if not fits:
        raise UpstreamFormatError(
            f"{name}: expected attn_scale to be the square root of d_head, got "
            f"attn_scale={scale!r} with d_head={d_head!r}; no other scale is implemented."
        )


def _same(value: object, accepted: object) -> bool:
    """Equality that distinguishes 0 from False and 1 from True."""
    if isinstance(value, bool) or isinstance(accepted, bool):
        return value is accepted
    return value == accepted
