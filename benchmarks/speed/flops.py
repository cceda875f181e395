"""How much work a forward run is."""

from collections.abc import Mapping

from benchmarks.speed.job import ConfigValue


def forward_flops(config: Mapping[str, ConfigValue], n_pos: int) -> int:
    """Floating-point operations of the matrix products of one forward run of one input.

    Two for each multiply-add: queries, keys, values, scores (all of them, the masked half too),
    weighted values, heads' results, both layers of each MLP, the output layer. Activations,
    softmax, additions and the embedding, which is a look-up, count nothing.
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
