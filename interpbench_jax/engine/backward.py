"""The masked forward and its derivative, as attribution and learned masks need them.

Everything that a method differentiates is linear in what the readers of the residual stream get.
So the derivative is taken once, by every reader's input; what it is by an edge's mask, a node's
gate or a writer's output is a product with that. Written out rather than left to `jax.grad`, which
would add up as many arrays of the size of all writers' outputs as there are places that read.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interpbench_jax.engine.layers import (
    EXACT,
    Scale,
    Scales,
    add_up,
    attend,
    keep,
    matmul,
    normalize,
    scale_at,
    unembed,
)
from interpbench_jax.engine.weights import (
    Form,
    Layer,
    Weights,
    layer_of,
)
from interpbench_jax.metrics import ByClass, check_values
from interpbench_jax.model.layers import ACTIVATIONS
from interpbench_jax.targets import Targets

OutputsByWriter = Float[Array, "src d_model pos batch"]
Replacements = Float[Array, "src d_model pos #batch"]
# Some readers, or some writers.
Group = Float[Array, "_ d_model pos batch"]
FineMask = Float[Array, "dst src"]
WriterGates = Float[Array, " src"]
LogitsMetric = Callable[[Float[Array, "vocab_out pos batch"]], Float[Array, " batch"]]


class Point(NamedTuple):
    """A masked run and the derivative of its metric.

    Attributes:
        value: the metric of every input.
        inputs_bar: its derivative by what readers get, in groups: the heads of a layer, its MLP,
            and so on to the output.
        outputs_bar: its derivative by what the writers wrote, in groups: the embeddings, the
            heads of a layer, its MLP, and so on.
        change: for every writer, its output in this run less its replacement, in the same groups.
    """

    value: Float[Array, " batch"]
    inputs_bar: tuple[Group, ...]
    outputs_bar: tuple[Group, ...]
    change: tuple[Group, ...]


def scored(
    metric: ByClass,
    first: int,
    clean: Float[Array, "vocab_out pos batch"],
    targets: Targets,
) -> LogitsMetric:
    """A metric of the logits alone, on the scored positions."""
    wanted = jnp.asarray(targets).T[..., first:, :]

    def of_logits(logits: Float[Array, "vocab_out pos batch"]) -> Float[Array, " batch"]:
        values = metric(logits[:, first:], clean[:, first:], wanted)
        check_values(values, logits.shape[-1])
        return values

    return of_logits


def differentiate(
    form: Form,
    weights: Weights,
    embedded: Float[Array, "2 d_model pos batch"],
    replacement: Replacements,
    mask: FineMask | WriterGates,
    metric: LogitsMetric,
    share: Float[Array, " batch"],
    flow: Float[Array, " layers"] | None = None,
    passed: WriterGates | None = None,
    scales: Scales | None = None,
) -> Point:
    """Run a model under a mask, forward and backward.

    Args:
        form: of the model.
        weights: its weights.
        embedded: what the two embeddings write.
        replacement: what takes the place of every writer's output.
        mask: 1 keeps an edge; or, for every writer, how much of its output all readers get.
        metric: of the logits.
        share: how much each input counts: 0 for rows that only fill up.
        flow: how much of the derivative goes back through each layer; all of it by default.
        passed: for gates: how much of the derivative goes back through each writer, in place of
            its gate: 0 where its output is a given value.
        scales: what layer norms divide by, as constants; by default each by what its input says.
    """
    layout = weights.layout
    run = _Run(embedded, replacement, mask, mask if passed is None else passed)
    backs = []
    for number in range(layout.n_layers):
        layer = layer_of(weights, number)
        flowing = None if flow is None else flow[number]
        read = run.read(layout.head_inputs)
        scale = scale_at(scales, layout.attention_norm(number))
        results, back = _attention(form, weights, layer, read, scale)
        backs.append((back, flowing))
        run.write(results, layer.attention_bias)
        scale = scale_at(scales, layout.mlp_norm(number))
        written, back = _mlp(form, layer, run.read(1), scale)
        backs.append((back, flowing))
        run.write(written)
    final, scale = run.read(1)[0], scale_at(scales, -1)
    logits, back_unembed = jax.vjp(lambda x: unembed(form, weights, x, scale), final)
    value, back_metric = jax.vjp(metric, logits)
    (logits_bar,) = back_metric(share)
    (final_bar,) = back_unembed(logits_bar)
    inputs_bar, outputs_bar = run.back(final_bar, backs)
    return Point(value * share, inputs_bar, outputs_bar, tuple(run.change))


def by_mask(inputs_bar: tuple[Group, ...], change: tuple[Group, ...]) -> FineMask:
    """The derivative by every edge's mask, summed over inputs, given what cutting changes.

    Args:
        inputs_bar: by what readers get, as in `Point`.
        change: for every writer, its output less its replacement, as in `Point`.
    """
    n_writers = sum(group.shape[0] for group in change)
    rows = []
    for number, bars in enumerate(inputs_bar):
        seen = _in_blocks(join(change[: number + 1]))
        row = jnp.einsum("krn,ksn->rs", _in_blocks(bars), seen, precision=EXACT)
        rows.append(jnp.pad(row, ((0, 0), (0, n_writers - row.shape[1]))))
    return jnp.concatenate(rows)


class _Run:
    """What the writers have written so far, and how readers read it.

    Readers get what all writers' replacements add up to, and their share of every change from
    that.
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
        """New outputs, and a bias that belongs to no writer."""
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
        """What the next readers get: `[readers, d_model, pos, batch]`, or 1 that all share."""
        first = self.readers[-1].stop if self.readers else 0
        readers = slice(first, first + count)
        self.readers.append(readers)
        if self.mask.ndim == 1:
            return self.base[None]
        mask = self.mask[readers, : self.writers[-1].stop]
        kept = jnp.einsum("rs,sn->rn", mask, _flat(join(self.change)), precision=EXACT)
        return keep(kept.reshape(count, *self.base.shape) + self.base[None])

    def back(
        self, final_bar: Array, backs: list[tuple[Callable[[Array], Array], Array | None]]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """From the output's input to every reader's and every writer's, last to first."""
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
    form: Form, weights: Weights, layer: Layer, x: Array, scale: Scale | None = None
) -> tuple[Array, Callable[[Array], Array]]:
    """What the heads write, given what their q, k and v read; and the way back."""
    _, n_heads, d_head, d_model = layer.qkv.shape
    normal, back_norm = jax.vjp(lambda x: normalize(form, x, axis=1, scale=scale), x)
    tail = normal.shape[2:]
    projections = layer.qkv.reshape(3 * n_heads, d_head, d_model)
    if len(x) == 1:
        qkv = jnp.einsum("rdm,mn->rdn", projections, _flat(normal[0]), precision=EXACT)
    else:
        qkv = jnp.einsum("rdm,rmn->rdn", projections, _flat(normal, 2), precision=EXACT)
    qkv = qkv.reshape(3, n_heads, d_head, *tail) + layer.qkv_bias[..., None, None]
    z, back_attend = jax.vjp(lambda x: attend(x[0], x[1], x[2], weights), keep(qkv))
    results = jnp.einsum("hmd,hdn->hmn", layer.head_out, _flat(keep(z), 2), precision=EXACT)

    def back(results_bar: Array) -> Array:
        z_bar = jnp.einsum("hmd,hmn->hdn", layer.head_out, _flat(results_bar, 2), precision=EXACT)
        (qkv_bar,) = back_attend(keep(z_bar.reshape(z.shape)))
        qkv_bar = keep(qkv_bar).reshape(3 * n_heads, d_head, -1)
        normal_bar = jnp.einsum("rdm,rdn->rmn", projections, qkv_bar, precision=EXACT)
        normal_bar = normal_bar.reshape(3 * n_heads, d_model, *tail)
        if form.normalization_type is None:
            return normal_bar
        if len(x) == 1:
            return jax.vmap(lambda bar: back_norm(bar[None])[0][0])(normal_bar)
        return back_norm(normal_bar)[0]

    return results.reshape(n_heads, d_model, *tail), back


def _mlp(
    form: Form, layer: Layer, x: Array, scale: Scale | None = None
) -> tuple[Array, Callable[[Array], Array]]:
    """What an MLP writes, and the way back."""
    written, back = run_mlp(form, layer, x[0], scale)
    return written[None], lambda bar: back(bar[0])[None]


def run_mlp(
    form: Form, layer: Layer, x: Array, scale: Scale | None = None
) -> tuple[Array, Callable[[Array], Array]]:
    """What an MLP writes, and the way back; the activation function is evaluated once for both."""
    normal, back_norm = jax.vjp(lambda x: normalize(form, x, scale=scale), x)
    pre = matmul(layer.mlp_in, normal) + layer.mlp_in_bias[:, None, None]
    hidden, slope = jax.jvp(ACTIVATIONS[form.act_fn], (pre,), (jnp.ones_like(pre),))
    hidden, slope = keep((hidden, slope))
    written = matmul(layer.mlp_out, hidden) + layer.mlp_out_bias[:, None, None]

    def back(bar: Array) -> Array:
        pre_bar = keep(matmul(layer.mlp_out.T, bar) * slope)
        return back_norm(matmul(layer.mlp_in.T, pre_bar))[0]

    return written, back


def join(parts: Sequence[Array]) -> Array:
    """Arrays one after another along the first axis.

    XLA fuses a concatenation with what comes before and after, and on a CPU then takes ten times
    as long as for writing each part to its place.
    """
    joined = jnp.zeros((sum(len(part) for part in parts), *parts[0].shape[1:]), parts[0].dtype)
    start = 0
    for part in parts:
        joined = joined.at[start : start + len(part)].set(part)
        start += len(part)
    return joined


def _in_blocks(x: Array) -> Array:
    """The last axis alone, all others but the first in front: short rows stay in the cache."""
    return x.reshape(x.shape[0], -1, x.shape[-1]).transpose(1, 0, 2)


def _flat(x: Array, axes: int = 1) -> Array:
    return x.reshape(*x.shape[:axes], -1)
