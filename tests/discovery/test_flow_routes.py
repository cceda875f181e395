"""Information flow routes, against a plain version."""

import jax
import numpy as np
import pytest

from interpbench_jax import run_with_cache
from interpbench_jax.discovery.flow_routes import FlowRoutesSettings, flow_routes
from interpbench_jax.interventions import writer_outputs
from interpbench_jax.metrics import METRICS
from interpbench_jax.sites import Kind
from tests.discovery.small import CONFIGS, small_data, small_model


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("universe", ["qkv", "qkv-merged"])
def test_shares_of_what_is_read(name: str, universe: str, x64: None) -> None:
    model = small_model(CONFIGS[name], np.float64)
    data = small_data(model, universe=universe, first_scored=2, batch_size=3)
    found = flow_routes(model, data, METRICS["l2"], FlowRoutesSettings(), jax.random.key(0))
    outputs = np.asarray(writer_outputs(model, data.clean)).transpose(2, 0, 1, 3)
    if universe == "qkv-merged":
        outputs = np.concatenate([outputs[:2].sum(axis=0, keepdims=True), outputs[2:]])
    _, cache = run_with_cache(model, data.clean)
    space = data.edges(model.config)
    written = dict(zip(space.sources, outputs, strict=True))
    for dst in {edge.dst for edge in space.edges}:
        layer = dst.layer
        hook = {Kind.MLP_IN: "resid_mid", Kind.RESID_POST: "resid_post"}.get(dst.kind, "resid_pre")
        y = np.asarray(cache[f"blocks.{layer}.hook_{hook}"])
        near = {
            edge.src: np.maximum(abs(y).sum(axis=-1) - abs(y - written[edge.src]).sum(axis=-1), 0)
            for edge in space.edges
            if edge.dst == dst
        }
        total = sum(near.values())
        for src, proximity in near.items():
            share = np.divide(proximity, total, out=np.zeros_like(total), where=total > 0)
            (value,) = (
                value
                for edge, value in zip(space.edges, found.values, strict=True)
                if (edge.src, edge.dst) == (src, dst)
            )
            assert value == pytest.approx(share[:, 2:].mean(), abs=1e-12)
