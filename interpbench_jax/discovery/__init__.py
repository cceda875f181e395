"""Methods for discovering a model's circuit."""

from interpbench_jax.discovery.acdc import ACDCSettings as ACDCSettings
from interpbench_jax.discovery.atp_star import AtPStarSettings as AtPStarSettings
from interpbench_jax.discovery.ceap import CEAPSettings as CEAPSettings
from interpbench_jax.discovery.data import data_for as data_for
from interpbench_jax.discovery.discover import discover as discover
from interpbench_jax.discovery.eap_ig import EAPIGSettings as EAPIGSettings
from interpbench_jax.discovery.edge_pruning import EdgePruningSettings as EdgePruningSettings
from interpbench_jax.discovery.exact import ExactSettings as ExactSettings
from interpbench_jax.discovery.flow_routes import FlowRoutesSettings as FlowRoutesSettings
from interpbench_jax.discovery.hisp import HISPSettings as HISPSettings
from interpbench_jax.discovery.mask_gradient import MaskGradientSettings as MaskGradientSettings
from interpbench_jax.discovery.method import DiscoveryData as DiscoveryData
from interpbench_jax.discovery.method import Method as Method
from interpbench_jax.discovery.method import Scores as Scores
from interpbench_jax.discovery.probing import ProbingSettings as ProbingSettings
from interpbench_jax.discovery.table import METHODS as METHODS
