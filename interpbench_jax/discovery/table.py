"""The table of methods."""

from interpbench_jax.discovery.acdc import ACDCSettings, acdc
from interpbench_jax.discovery.atp_star import AtPStarSettings, atp_star
from interpbench_jax.discovery.attribution_patching import (
    AttributionPatchingSettings,
    attribution_patching,
)
from interpbench_jax.discovery.ceap import CEAPSettings, ceap
from interpbench_jax.discovery.chance import ChanceSettings, chance
from interpbench_jax.discovery.clean_corrupted import CleanCorruptedSettings, clean_corrupted
from interpbench_jax.discovery.eap import EAPSettings, eap
from interpbench_jax.discovery.eap_ig import EAPIGSettings, eap_ig_activations, eap_ig_inputs
from interpbench_jax.discovery.edge_probing import edge_probing
from interpbench_jax.discovery.edge_pruning import EdgePruningSettings, edge_pruning
from interpbench_jax.discovery.exact import ExactSettings, exact_edges, exact_nodes
from interpbench_jax.discovery.flow_routes import FlowRoutesSettings, flow_routes
from interpbench_jax.discovery.hisp import HISPSettings, hisp
from interpbench_jax.discovery.mask_gradient import MaskGradientSettings, mask_gradient
from interpbench_jax.discovery.method import Method
from interpbench_jax.discovery.node_probing import node_probing
from interpbench_jax.discovery.peap import PEAPSettings, peap
from interpbench_jax.discovery.probing import ProbingSettings
from interpbench_jax.discovery.relp import RelPSettings, relp

METHODS: dict[str, Method] = {
    "chance": Method(chance, ChanceSettings(), is_random=True),
    "exact": Method(exact_edges, ExactSettings()),
    "exact-nodes": Method(exact_nodes, ExactSettings()),
    "acdc": Method(acdc, ACDCSettings(), shuffled=ACDCSettings(order="shuffled")),
    "eap": Method(eap, EAPSettings(), "loss", slope_at_clean=True),
    "peap": Method(peap, PEAPSettings(), "loss", slope_at_clean=True),
    "relp": Method(relp, RelPSettings(), "loss", slope_at_clean=True),
    "eap-ig-inputs": Method(eap_ig_inputs, EAPIGSettings(), "loss"),
    "eap-ig-activations": Method(eap_ig_activations, EAPIGSettings(), "loss"),
    "ceap": Method(ceap, CEAPSettings(), "loss"),
    "mask-gradient": Method(mask_gradient, MaskGradientSettings(), "loss"),
    "clean-corrupted": Method(clean_corrupted, CleanCorruptedSettings(), "loss"),
    "attribution-patching": Method(
        attribution_patching, AttributionPatchingSettings(), "loss", slope_at_clean=True
    ),
    "atp-star": Method(atp_star, AtPStarSettings(), "loss", slope_at_clean=True),
    "hisp": Method(hisp, HISPSettings(), "loss", slope_at_clean=True),
    "edge-probing": Method(edge_probing, ProbingSettings(), is_random=True),
    "node-probing": Method(node_probing, ProbingSettings(), is_random=True),
    "edge-pruning": Method(edge_pruning, EdgePruningSettings(), is_random=True),
    "flow-routes": Method(flow_routes, FlowRoutesSettings()),
}
"""Every method by name. To add a custom one: `METHODS["mine"] = Method(run, settings)`."""
