"""A layer's MLP."""

from collections.abc import Mapping

from flax import nnx
from jaxtyping import Array

from interpbench_jax.axes import HiddenStream, Stream
from interpbench_jax.config import TransformerConfig
from interpbench_jax.model.layers import ACTIVATIONS, Edit, center_and_scale, emit, keep, linear
from interpbench_jax.sites import Kind, Node


class MLP(nnx.Module):
    """An MLP with one hidden layer.

    Attributes:
        W_in: `[d_model, d_mlp]`.
        b_in: `[d_mlp]`.
        W_out: `[d_mlp, d_model]`.
        b_out: `[d_model]`; part of what the MLP writes.
    """

    def __init__(self, config: TransformerConfig, layer: int, weights: Mapping[str, Array]):
        def param(name: str) -> nnx.Param:
            return nnx.Param(weights[f"blocks.{layer}.mlp.{name}"])

        self.config = config
        self.layer = layer
        self.W_in, self.b_in = param("W_in"), param("b_in")
        self.W_out, self.b_out = param("W_out"), param("b_out")

    def __call__(self, x: Stream, edit: Edit = keep) -> Stream:
        """Return what the MLP writes to the residual stream, given the stream before layer norm."""
        out = self.write(self.hidden(x, edit))
        return emit(edit, Node(Kind.MLP_OUT, self.layer), out)

    def hidden(self, x: Stream, edit: Edit = keep) -> HiddenStream:
        """Return the hidden units, after the activation function."""
        if self.config.normalization_type == "LNPre":
            scale = Node(Kind.LN2_SCALE, self.layer)
            normalized = Node(Kind.LN2_NORMALIZED, self.layer)
            x = center_and_scale(x, self.config.eps, scale, normalized, edit)
        pre = linear(x, self.W_in[...], self.b_in[...])
        pre = emit(edit, Node(Kind.MLP_PRE, self.layer), pre)
        return emit(edit, Node(Kind.MLP_POST, self.layer), ACTIVATIONS[self.config.act_fn](pre))

    def write(self, post: HiddenStream) -> Stream:
        """Return what the hidden units and `b_out` write to the residual stream."""
        return linear(post, self.W_out[...], self.b_out[...])
