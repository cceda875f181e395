"""A certificate of case 36 with made-up numbers."""

from interpbench_jax.certificates import (
    Certificate,
    CircuitAlone,
    EdgeCheck,
    EdgeEffect,
    NodeEffect,
)
from interpbench_jax.weights import digest_weights
from tests.certificates.emoji import make_weights

MLP = "blocks.0.mlp.hook_post"
HEAD = "blocks.0.attn.hook_result[0]"
_INPUT, _MLP, _OUTPUT = (
    "blocks.0.hook_resid_pre",
    "blocks.0.hook_mlp_out",
    "blocks.1.hook_resid_post",
)
INTO_MLP = EdgeEffect(_INPUT, _MLP, "in", 10.0, 8.0, 0.625)
INTO_OUTPUT = EdgeEffect(_MLP, _OUTPUT, "in", 12.0, 10.0, 0.75)
INTO_HEAD = EdgeEffect(_INPUT, HEAD, "constant", 0.0, 0.0, 0.0)
LEAK = EdgeEffect(_INPUT, "blocks.1.hook_mlp_out", "out", 0.055, 0.0225, 0.0)
EDGES = (INTO_MLP, INTO_OUTPUT, INTO_HEAD, LEAK)
CERTIFICATE = Certificate(
    case_id="36",
    weights_sha256=digest_weights(make_weights()),
    n=500,
    seed=1,
    distinct_inputs=400,
    split_inputs=2014,
    atol=None,
    leak=None,
    accuracy=0.99996,
    sequence_accuracy=0.9991,
    iia={"mood": 0.9996},
    joint_iia={},
    edge_accuracy={f"{_INPUT} -> {_MLP}": 0.9995, f"{_MLP} -> {_OUTPUT}": 1.0},
    strict_accuracy={HEAD: 0.9994},
    alignment={"mood": (MLP,)},
    metric="kl",
    nodes={HEAD: NodeEffect(0.0, 0.0, 0.0), MLP: NodeEffect(12.5, 9.5, 0.625)},
    circuit_alone=CircuitAlone(0.97, 0.96, 0.9995, 0.9993),
    edges=EdgeCheck(
        n=500,
        noise_floor=2e-5,
        auc={"effect": {"head": 1.0, "qkv": None}, "centred": {"head": 0.98, "qkv": None}},
        edges={"head": EDGES},
    ),
    versions={"jax": "1.2.3"},
)
