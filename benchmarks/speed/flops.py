"""The number of floating-point operations of a forward run."""

from collections.abc import Mapping

from benchmarks.speed.job import ConfigValue


def forward_flops(config: Mapping[str, ConfigValue], n_pos: int) -> int:
    """Count the floating-point operations of the matrix products of one forward run of one input.

    A multiply-add counts as two. Included are queries, keys, values, scores (all of them, also the
    masked half), weighted values, heads' results, both layers of each MLP and the output layer.
    Activations, softmax, additions and the embedding, which is a look-up, are not counted.
    """

    def size(name: str) -> int:
        value = config[name]
        assert isinstance(value, int)
        return value

    width = size("n_heads") * size("d_head")
    projections = 4 * n_pos * size("d_model") * width
    attention = 2 * n_pos * n_pos * width
    mlp = 2 * n_pos * size("d_model") * size("d_mlp")
    output = n_pos * size("d_model") * size("d_vocab_out")
    return 2 * (size("n_layers") * (projections + attention + mlp) + output)
