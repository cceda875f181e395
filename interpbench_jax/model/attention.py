"""Multi-head attention with a separate input for every head's queries, keys and values."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from interpbench_jax.axes import (
    HeadStreams,
    HeadValues,
    RealPositions,
    SharedHeadStreams,
    Stream,
)
from interpbench_jax.config import TransformerConfig
from interpbench_jax.model.contractions import attention_mix, attention_scores
from interpbench_jax.model.layers import (
    Edit,
    center_and_scale,
    emit,
    keep,
    linear,
    linear_by_head,
)
from interpbench_jax.sites import Kind, Node


class Attention(nnx.Module):
    """One layer's heads.

    Attributes:
        W_Q, W_K, W_V: `[heads, d_model, d_head]`.
        b_Q, b_K, b_V: `[heads, d_head]`.
        W_O: `[heads, d_head, d_model]`.
        b_O: `[d_model]`; added once, and belongs to no head.
    """

    def __init__(self, config: TransformerConfig, layer: int, weights: Mapping[str, Array]):
        def param(name: str) -> nnx.Param:
            return nnx.Param(weights[f"blocks.{layer}.attn.{name}"])

        self.config = config
        self.layer = layer
        self.W_Q, self.b_Q = param("W_Q"), param("b_Q")
        self.W_K, self.b_K = param("W_K"), param("b_K")
        self.W_V, self.b_V = param("W_V"), param("b_V")
        self.W_O, self.b_O = param("W_O"), param("b_O")

    def __call__(
        self,
        q_input: HeadStreams,
        k_input: HeadStreams,
        v_input: HeadStreams,
        is_real: RealPositions | None = None,
        edit: Edit = keep,
    ) -> HeadStreams:
        """What each head writes to the residual stream, without `b_O`.

        Each input is the residual stream as that head reads it, before layer norm; see `attend`.
        """
        z = self.attend(q_input, k_input, v_input, is_real, edit)
        return emit(edit, Node(Kind.HEAD, self.layer), self.results(z))

    def results(self, z: HeadValues) -> HeadStreams:
        """What each head writes to the residual stream, without `b_O`, given its mixture."""
        return linear_by_head(z, self.W_O[...]).transpose(1, 0, 2, 3)

    def attend(
        self,
        q_input: Float[Array, "#heads q_pos d_model batch"],
        k_input: Float[Array, "#heads k_pos d_model batch"],
        v_input: Float[Array, "#heads k_pos d_model batch"],
        is_real: RealPositions | None = None,
        edit: Edit = keep,
    ) -> Float[Array, "q_pos heads d_head batch"]:
        """Each head's mixture of values, before `W_O`; an input of one head is every head's.

        Where q's input has fewer positions than the others', they are the last ones. Positions
        that are not real are attended to by none; by default all are real.
        """
        q = self._project(Kind.Q, q_input, self.W_Q[...], self.b_Q[...], edit)
        k = self._project(Kind.K, k_input, self.W_K[...], self.b_K[...], edit)
        v = self._project(Kind.V, v_input, self.W_V[...], self.b_V[...], edit)
        scores = attention_scores(q, k)
        if self.config.use_attn_scale:
            scores = scores / math.sqrt(self.config.d_head)
        if self.config.is_causal:
            queries, keys = q.shape[0], k.shape[0]
            seen = jnp.tril(jnp.ones((queries, keys), bool), keys - queries)[:, :, None, None]
            scores = jnp.where(seen, scores, -jnp.inf)
        if is_real is not None:
            scores = jnp.where(is_real[None, :, None, :], scores, -jnp.inf)
        scores = emit(edit, Node(Kind.ATTN_SCORES, self.layer), scores)
        pattern = emit(edit, Node(Kind.PATTERN, self.layer), jax.nn.softmax(scores, axis=1))
        return emit(edit, Node(Kind.Z, self.layer), attention_mix(pattern, v))

    def write(self, z: HeadValues) -> Stream:
        """What all heads and `b_O` together write to the residual stream."""
        pos, heads, d_head, batch = z.shape
        joined = z.reshape(pos, heads * d_head, batch)
        return linear(joined, self.W_O[...].reshape(heads * d_head, -1), self.b_O[...])

    def _project(
        self,
        kind: Kind,
        inputs: SharedHeadStreams,
        weight: Float[Array, "heads d_model d_head"],
        bias: Float[Array, "heads d_head"],
        edit: Edit,
    ) -> HeadValues:
        if self.config.normalization_type == "LNPre":
            scale = Node(Kind.LN1_SCALE, self.layer)
            normalized = Node(Kind.LN1_NORMALIZED, self.layer)
            inputs = center_and_scale(inputs, self.config.eps, scale, normalized, edit)
        heads, d_model, d_head = weight.shape
        n_inputs, pos, _, batch = inputs.shape
        if n_inputs == 1:
            joined = weight.transpose(1, 0, 2).reshape(d_model, heads * d_head)
            projected = linear(inputs[0], joined, bias.reshape(-1))
            projected = projected.reshape(pos, heads, d_head, batch)
        else:
            projected = linear_by_head(inputs.transpose(1, 0, 2, 3), weight)
            projected = projected + bias[None, :, :, None]
        return emit(edit, Node(kind, self.layer), projected)
