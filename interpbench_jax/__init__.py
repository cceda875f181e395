"""Transformers whose circuits are known, in JAX.

Names are imported when they are first used, so that importing the package stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from interpbench_dataset.alias import install as _install_alias
from interpbench_jax.notebooks import install as _install_drawings
from interpbench_jax.version import __version__ as __version__

if TYPE_CHECKING:
    from interpbench_dataset.arrays import to_jax as to_jax
    from interpbench_dataset.loading import load_dataset as load_dataset
    from interpbench_jax import cases as cases
    from interpbench_jax import discovery as discovery
    from interpbench_jax import metrics as metrics
    from interpbench_jax import rasp as rasp
    from interpbench_jax import scores as scores
    from interpbench_jax import sites as sites
    from interpbench_jax import statistics as statistics
    from interpbench_jax import training as training
    from interpbench_jax.ablations import OptimalSettings as OptimalSettings
    from interpbench_jax.ablations import ablation_constants as ablation_constants
    from interpbench_jax.case import Case as Case
    from interpbench_jax.case import read_case as read_case
    from interpbench_jax.cases import CASES as CASES
    from interpbench_jax.cases import RaspTask as RaspTask
    from interpbench_jax.cases import Recipe as Recipe
    from interpbench_jax.certificates import Certificate as Certificate
    from interpbench_jax.certificates import read_certificate as read_certificate
    from interpbench_jax.certificates.measure import certify as certify
    from interpbench_jax.circuit import Circuit as Circuit
    from interpbench_jax.config import TransformerConfig as TransformerConfig
    from interpbench_jax.discovery import METHODS as METHODS
    from interpbench_jax.discovery import DiscoveryData as DiscoveryData
    from interpbench_jax.discovery import Method as Method
    from interpbench_jax.discovery import Scores as Scores
    from interpbench_jax.discovery import discover as discover
    from interpbench_jax.interventions import layer_norm_scales as layer_norm_scales
    from interpbench_jax.interventions import masked_forward as masked_forward
    from interpbench_jax.interventions import replacement_outputs as replacement_outputs
    from interpbench_jax.interventions import run_with_cache as run_with_cache
    from interpbench_jax.interventions import run_with_hooks as run_with_hooks
    from interpbench_jax.interventions import writer_outputs as writer_outputs
    from interpbench_jax.loading import load_case as load_case
    from interpbench_jax.loading import packaged_cases as packaged_cases
    from interpbench_jax.metrics import METRICS as METRICS
    from interpbench_jax.model import Transformer as Transformer
    from interpbench_jax.model import build_model as build_model
    from interpbench_jax.model import hook_names as hook_names
    from interpbench_jax.model import random_model as random_model
    from interpbench_jax.objective import Objective as Objective
    from interpbench_jax.pairs import Pairs as Pairs
    from interpbench_jax.pairs import PairStream as PairStream
    from interpbench_jax.pictures import draw_circuit as draw_circuit
    from interpbench_jax.pictures import plot_attention as plot_attention
    from interpbench_jax.pictures import plot_effects as plot_effects
    from interpbench_jax.pictures import plot_faithfulness as plot_faithfulness
    from interpbench_jax.pictures import plot_roc as plot_roc
    from interpbench_jax.position_truth import PositionTruth as PositionTruth
    from interpbench_jax.scores import edge_auc_by_universe as edge_auc_by_universe
    from interpbench_jax.scores import rank_scores as rank_scores
    from interpbench_jax.scores import score_positions as score_positions
    from interpbench_jax.scores import structure_scores as structure_scores
    from interpbench_jax.scores.faithfulness import faithfulness_curve as faithfulness_curve
    from interpbench_jax.sites import Edge as Edge
    from interpbench_jax.sites import Kind as Kind
    from interpbench_jax.sites import Neuron as Neuron
    from interpbench_jax.sites import Node as Node
    from interpbench_jax.sites import parse_edge as parse_edge
    from interpbench_jax.sites import parse_node as parse_node
    from interpbench_jax.sweeps import SweepOptions as SweepOptions
    from interpbench_jax.sweeps import SweepPlan as SweepPlan
    from interpbench_jax.sweeps import SweepResult as SweepResult
    from interpbench_jax.sweeps import sweep_cuts as sweep_cuts
    from interpbench_jax.sweeps import sweep_edges as sweep_edges
    from interpbench_jax.sweeps import sweep_many as sweep_many
    from interpbench_jax.sweeps import sweep_masks as sweep_masks
    from interpbench_jax.sweeps import sweep_mesh as sweep_mesh
    from interpbench_jax.sweeps import sweep_neurons as sweep_neurons
    from interpbench_jax.sweeps import sweep_nodes as sweep_nodes
    from interpbench_jax.training import train as train
    from interpbench_jax.universes import UNIVERSES as UNIVERSES
    from interpbench_jax.universes import Universe as Universe
    from interpbench_jax.universes import universe as universe

_HOMES = {
    "interpbench_dataset.arrays": ("to_jax",),
    "interpbench_dataset.loading": ("load_dataset",),
    "ablations": ("OptimalSettings", "ablation_constants"),
    "case": ("Case", "read_case"),
    "cases": ("CASES", "RaspTask", "Recipe"),
    "certificates": ("Certificate", "read_certificate"),
    "interpbench_jax.certificates.measure": ("certify",),
    "circuit": ("Circuit",),
    "config": ("TransformerConfig",),
    "discovery": ("METHODS", "DiscoveryData", "Method", "Scores", "discover"),
    "interventions": (
        "layer_norm_scales",
        "masked_forward",
        "replacement_outputs",
        "run_with_cache",
        "run_with_hooks",
        "writer_outputs",
    ),
    "loading": ("load_case", "packaged_cases"),
    "metrics": ("METRICS",),
    "model": ("Transformer", "build_model", "hook_names", "random_model"),
    "objective": ("Objective",),
    "pairs": ("PairStream", "Pairs"),
    "pictures": (
        "draw_circuit",
        "plot_attention",
        "plot_effects",
        "plot_faithfulness",
        "plot_roc",
    ),
    "position_truth": ("PositionTruth",),
    "scores": ("edge_auc_by_universe", "rank_scores", "score_positions", "structure_scores"),
    "interpbench_jax.scores.faithfulness": ("faithfulness_curve",),
    "sites": ("Edge", "Kind", "Neuron", "Node", "parse_edge", "parse_node"),
    "sweeps": (
        "SweepPlan",
        "SweepResult",
        "SweepOptions",
        "sweep_cuts",
        "sweep_edges",
        "sweep_many",
        "sweep_masks",
        "sweep_mesh",
        "sweep_neurons",
        "sweep_nodes",
    ),
    "training": ("train",),
    "universes": ("UNIVERSES", "Universe", "universe"),
}
# For example, `ib.scores.roc_auc` works without a second import.
_MODULES = ("cases", "discovery", "metrics", "rasp", "scores", "sites", "statistics", "training")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted({*_HOME_OF, *_MODULES, "__version__"})  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME_OF[name]
    value = getattr(import_module(home if "." in home else f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


# This imports nothing: `datasets` is left alone until something imports it.
_ALIAS = _install_alias()
# Nor does this: a circuit's drawing is made when a notebook shows the circuit.
_DRAWINGS = _install_drawings()
