"""The derivative of a masked run, which attribution and learned masks need.

Everything that a method differentiates is linear in the inputs of the residual stream's readers.
So the derivative is taken once, by every reader's input; the derivative by an edge's mask, a node's
gate or a writer's output is a product with that. It is written out rather than left to `jax.grad`,
which would add up as many arrays of the size of all writers' outputs as there are layer norms.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interpbench_jax.engine.chunk import Chunk
from interpbench_jax.engine.layers import (
    EXACT,
    Scale,
    add_up,
    attend,
    head_results,
    keep,
    matmul,
    norm_scale,
    normalize,
    scale_at,
    unembed,
)
from interpbench_jax.engine.masked import Changes, join, read_masked
from interpbench_jax.engine.scoring import Scoring
from interpbench_jax.engine.weights import Form, Layer, Weights, layer_of
from interpbench_jax.model.layers import ACTIVATIONS

FineMask = Float[Array, "dst src"]
WriterGates = Float[Array, " src"]
# The derivative by the inputs of some readers, or by the outputs of some writers.
Derivatives = Float[Array, "_ d_model pos batch"]
# What goes back through layer norms and activation functions: the derivative; or, by the rules of
# relevance patching, what it would be if a norm's divisor were a constant and if the activation
# function were the line through 0 and the value that it has.
Rule = Literal["derivative", "relevance"]
# Keeps the slope of that line finite, as in the authors' code.
_STABILIZER = 1e-6


class Point(NamedTuple):
    """A masked run and the derivative of its metric.

    Attributes:
        value: the metric of every input.
        inputs_bar: the derivative by the readers' inputs, in groups: the heads of a layer, its
            MLP, and so on to the output.
        outputs_bar: the derivative by the writers' outputs, in groups: the embeddings, the heads
            of a layer, its MLP, and so on.
        change: every writer's output in this run less its replacement, in the same groups.
    """

    value: Float[Array, " batch"]
    inputs_bar: tuple[Derivatives, ...]
    outputs_bar: tuple[Derivatives, ...]
    change: tuple[Changes, ...]


def differentiate(
    form: Form,
    scoring: Scoring,
    weights: Weights,
    chunk: Chunk,
    mask: FineMask | WriterGates,
    *,
    flow: Float[Array, " layers"] | None = None,
    passed: WriterGates | None = None,
    rule: Rule = "derivative",
) -> Point:
    """Run a model under a mask, forward and backward.

    Args:
        form: the model's form.
        scoring: how logits become a score.
        weights: the model's weights.
        chunk: the inputs, and the replacements of all writers' outputs.
        mask: 1 keeps an edge; or, for every writer, the share of its output that all readers get.
        flow: the share of the derivative that goes back through each layer; all of it by default.
        passed: for gates: the share of the derivative that goes back through each writer, instead
            of its gate: 0 if its output is a given value.
        rule: what goes back through layer norms and activation functions.
    """
    layout, scales = weights.layout, chunk.run.scales
    passed = mask if passed is None else passed
    run = _Run(chunk.embedded, chunk.replacement, mask, passed)
    backs = []
    for number in range(layout.n_layers):
        layer = layer_of(weights, number)
        flowing = None if flow is None else flow[number]
        read = run.read(layout.head_inputs)
        scale = scale_at(scales, layout.attention_norm(number))
        results, back = _attention(form, weights, layer, read, scale, rule)
        backs.append((back, flowing))
        run.write(results, layer.attention_bias)
        scale = scale_at(scales, layout.mlp_norm(number))
        written, back_mlp = run_mlp(form, layer, run.read(1)[0], scale, rule)
        backs.append((_of_first(back_mlp), flowing))
        run.write(written[None])
    final = run.read(1)[0]
    scale = _divisor(form, final, scale_at(scales, -1), rule)
    logits, back_unembed = jax.vjp(lambda x: unembed(form, weights, x, scale), final)
    value, back_metric = jax.vjp(chunk.metric(scoring), logits)
    (logits_bar,) = back_metric(chunk.share)
    (final_bar,) = back_unembed(logits_bar)
    inputs_bar, outputs_bar = run.back(final_bar, backs)
    return Point(value * chunk.share, inputs_bar, outputs_bar, tuple(run.change))


def by_mask(inputs_bar: tuple[Derivatives, ...], change: tuple[Changes, ...]) -> FineMask:
    """The derivative by every edge's mask, summed over inputs.

    Args:
        inputs_bar: the derivative by the readers' inputs, as in `Point`.
        change: every writer's output less its replacement, as in `Point`.
    """
    n_writers = sum(group.shape[0] for group in change)
    rows = []
    for number, bars in enumerate(inputs_bar):
        seen = _in_blocks(join(change[: number + 1]))
        row = jnp.einsum("krn,ksn->rs", _in_blocks(bars), seen, precision=EXACT)
        rows.append(jnp.pad(row, ((0, 0), (0, n_writers - row.shape[1]))))
    return jnp.concatenate(rows)


def by_mask_at(
    inputs_bar: tuple[Derivatives, ...], change: tuple[Changes, ...]
) -> Float[Array, "pos dst src"]:
    """`by_mask`, at each position at which readers read."""

    def at(position: Int[Array, ""]) -> FineMask:
        def pick(group: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(group, position, 1, axis=2)

        return by_mask(tuple(map(pick, inputs_bar)), tuple(map(pick, change)))

    return jax.lax.map(at, jnp.arange(inputs_bar[0].shape[2]))


class _Run:
    """The outputs of the writers so far, and how readers read them.

    A reader gets the sum of all writers' replacements, and its share of every writer's change.
    """

    def __init__(self, embedded: Array, replacement: Array, mask: Array, passed: Array):
        self.mask = mask
        self.passed = passed
        self.replacement = replacement
        self.base = jnp.zeros_like(embedded[0])
        self.change: list[Array] = []
        self.writers: list[slice] = []
        self.readers: list[slice] = []
        self.write(embedded)

    def write(self, outputs: Array, bias: Array | None = None) -> None:
        """Add outputs, and a bias that belongs to no writer."""
        first = self.writers[-1].stop if self.writers else 0
        writers = slice(first, first + outputs.shape[0])
        replacement = self.replacement[writers]
        change = outputs - replacement
        base = self.base + add_up(replacement)
        if bias is not None:
            base = base + bias[:, None, None]
        if self.mask.ndim == 1:
            base = base + add_up(self.mask[writers, None, None, None] * change)
        self.base = keep(base)
        self.change.append(keep(change))
        self.writers.append(writers)

    def read(self, count: int) -> Array:
        """The inputs of the next readers: `[readers, d_model, pos, batch]`, or 1 that all share."""
        first = self.readers[-1].stop if self.readers else 0
        readers = slice(first, first + count)
        self.readers.append(readers)
        if self.mask.ndim == 1:
            return self.base[None]
        return read_masked(self.base, self.change, self.mask[readers])

    def back(
        self, final_bar: Array, backs: list[tuple[Callable[[Array], Array], Array | None]]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Go back from the output to every reader's input and every writer's output."""
        inputs_bar, outputs_bar = [final_bar[None]], []
        passed, total = [final_bar[None]], final_bar
        for number in reversed(range(len(self.writers))):
            writers = self.writers[number]
            if self.mask.ndim == 1:
                bar = self.passed[writers, None, None, None] * total[None]
            else:
                readers = self.readers[number:]
                parts = [
                    jnp.einsum("rs,rn->sn", self.mask[rows, writers], _flat(group))
                    for rows, group in zip(readers, passed, strict=True)
                ]
                bar = sum(parts[1:], parts[0]).reshape(-1, *final_bar.shape)
            outputs_bar.append(keep(bar))
            if number == 0:
                break
            back, flow = backs[number - 1]
            new = keep(back(outputs_bar[-1]))
            inputs_bar.append(new)
            passed = [new if flow is None else flow * new, *passed]
            if self.mask.ndim == 1:
                total = keep(total + add_up(passed[0]))
        return tuple(reversed(inputs_bar)), tuple(reversed(outputs_bar))


def _attention(
    form: Form, weights: Weights, layer: Layer, x: Array, scale: Scale | None, rule: Rule
) -> tuple[Array, Callable[[Array], Array]]:
    """The outputs of a layer's heads, given the inputs of their q, k and v; and the way back.

    An input of one reader is that of all, as in gated runs.
    """
    kinds, n_heads, d_head, d_model = layer.qkv.shape
    scale = _divisor(form, x, scale, rule, axis=1)
    normal, back_norm = jax.vjp(lambda x: normalize(form, x, axis=1, scale=scale), x)
    tail = normal.shape[2:]
    projections = layer.qkv.reshape(kinds * n_heads, d_head, d_model)
    if len(x) == 1:
        qkv = jnp.einsum("rdm,mn->rdn", projections, _flat(normal[0]), precision=EXACT)
    else:
        qkv = jnp.einsum("rdm,rmn->rdn", projections, _flat(normal, 2), precision=EXACT)
    qkv = qkv.reshape(kinds, n_heads, d_head, *tail) + layer.qkv_bias[..., None, None]
    z, back_attend = jax.vjp(lambda x: attend(x[0], x[1], x[2], weights), keep(qkv))

    def back(results_bar: Array) -> Array:
        z_bar = jnp.einsum("hmd,hmn->hdn", layer.head_out, _flat(results_bar, 2), precision=EXACT)
        (qkv_bar,) = back_attend(keep(z_bar.reshape(z.shape)))
        qkv_bar = keep(qkv_bar).reshape(kinds * n_heads, d_head, -1)
        normal_bar = jnp.einsum("rdm,rdn->rmn", projections, qkv_bar, precision=EXACT)
        normal_bar = normal_bar.reshape(kinds * n_heads, d_model, *tail)
        if form.normalization_type is None:
            return normal_bar
        if len(x) == 1:
            return jax.vmap(lambda bar: back_norm(bar[None])[0][0])(normal_bar)
        return back_norm(normal_bar)[0]

    return head_results(layer, keep(z)), back


def _of_first(back: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The way back of a group of one."""
    return lambda bar: back(bar[0])[None]


def run_mlp(
    form: Form, layer: Layer, x: Array, scale: Scale | None, rule: Rule = "derivative"
) -> tuple[Array, Callable[[Array], Array]]:
    """The output of an MLP, and the way back; the activation function is evaluated only once."""
    scale = _divisor(form, x, scale, rule)
    normal, back_norm = jax.vjp(lambda x: normalize(form, x, scale=scale), x)
    pre = matmul(layer.mlp_in, normal) + layer.mlp_in_bias[:, None, None]
    hidden, slope = jax.jvp(ACTIVATIONS[form.act_fn], (pre,), (jnp.ones_like(pre),))
    # ReLU is a line on each side of 0 as it is.
    if rule == "relevance" and form.act_fn != "relu":
        slope = hidden / (pre + jnp.where(pre < 0, -_STABILIZER, _STABILIZER))
    hidden, slope = keep((hidden, slope))
    written = matmul(layer.mlp_out, hidden) + layer.mlp_out_bias[:, None, None]

    def back(bar: Array) -> Array:
        pre_bar = keep(matmul(layer.mlp_out.T, bar) * slope)
        return back_norm(matmul(layer.mlp_in.T, pre_bar))[0]

    return written, back


def _divisor(form: Form, x: Array, scale: Scale | None, rule: Rule, axis: int = 0) -> Array | None:
    """What a layer norm divides by, as a constant; None if it has a derivative."""
    if rule == "derivative" or scale is not None or form.normalization_type is None:
        return scale
    divisor = jax.lax.stop_gradient(norm_scale(form, x, axis))
    return divisor if axis else divisor[0]


def _in_blocks(x: Array) -> Array:
    """The axes between the first and the last in front: short rows stay in the cache."""
    return x.reshape(x.shape[0], -1, x.shape[-1]).transpose(1, 0, 2)


def _flat(x: Array, axes: int = 1) -> Array:
    return x.reshape(*x.shape[:axes], -1)
