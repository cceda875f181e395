"""Axis names and array aliases shared by every module.

| name        | what it counts                                                     |
|-------------|--------------------------------------------------------------------|
| `batch`     | inputs (prompts)                                                   |
| `pos`       | token positions; position 0 holds BOS                              |
| `q_pos`     | positions that attend                                              |
| `k_pos`     | positions attended to                                              |
| `heads`     | attention heads of one layer                                       |
| `d_model`   | residual stream width                                              |
| `d_head`    | width of one head                                                  |
| `d_mlp`     | hidden width of one MLP                                            |
| `vocab`     | input tokens                                                       |
| `vocab_out` | output classes; 1 for a regression                                 |
| `src`       | writers to the residual stream, in the order of `sites.writers`    |
| `dst`       | readers of the residual stream, in the order of `sites.readers`    |
| `norms`     | layer norms in forward order: the ones before each layer's         |
|             | attention and before its MLP, and lastly the one before the output |
| `edits`     | interventions of one sweep                                         |
| `rows`      | patched runs of one program: edits times inputs                    |
"""

import numpy as np
from jaxtyping import Array, Bool, Float, Int

# Of JAX or of NumPy.
AnyArray = Array | np.ndarray
Tokens = Int[AnyArray, "batch pos"]
# Inputs that are not paired with others by row.
OtherTokens = Int[AnyArray, "other pos"]
Logits = Float[Array, "batch pos vocab_out"]
EdgeMask = Float[AnyArray, "dst src"] | Float[AnyArray, "dst src pos"]

# Inside a run the batch is innermost: it is the one long axis of these models, and processors
# vectorize along the innermost axis.
Stream = Float[Array, "pos d_model batch"]
HeadStreams = Float[Array, "heads pos d_model batch"]
SharedHeadStreams = Float[Array, "#heads pos d_model batch"]
HeadValues = Float[Array, "pos heads d_head batch"]
# False at padding, to which no position attends.
RealPositions = Bool[Array, "pos batch"]
HiddenStream = Float[Array, "pos d_mlp batch"]
Written = Float[Array, "src pos d_model batch"]

# Arrays that callers pass and receive.
WriterOutputs = Float[Array, "batch pos src d_model"]
Replacement = Float[AnyArray, "#batch #pos src d_model"]
LayerNormScales = Float[AnyArray, "batch pos norms"]
# Replacements that all inputs share.
Constants = Float[AnyArray, "1 #pos src d_model"]

__all__ = [
    "AnyArray",
    "Array",
    "Bool",
    "Constants",
    "EdgeMask",
    "Float",
    "HeadStreams",
    "HeadValues",
    "HiddenStream",
    "Int",
    "LayerNormScales",
    "Logits",
    "OtherTokens",
    "RealPositions",
    "Replacement",
    "SharedHeadStreams",
    "Stream",
    "Tokens",
    "WriterOutputs",
    "Written",
]
