"""The transformer as `flax.nnx` modules with TransformerLens's hooks."""

from interpbench_jax.model.inputs import as_tokens as as_tokens
from interpbench_jax.model.inputs import check_tokens as check_tokens
from interpbench_jax.model.layers import Edit as Edit
from interpbench_jax.model.layers import keep as keep
from interpbench_jax.model.transformer import Transformer as Transformer
from interpbench_jax.model.transformer import build_model as build_model
from interpbench_jax.model.transformer import check_model as check_model
from interpbench_jax.model.transformer import flat_weights as flat_weights
from interpbench_jax.model.transformer import hook_names as hook_names
from interpbench_jax.model.transformer import hook_nodes as hook_nodes
from interpbench_jax.model.transformer import random_model as random_model
