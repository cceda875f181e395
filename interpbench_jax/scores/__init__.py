"""Scores of edges and nodes against a known circuit.

Nothing here needs JAX; `interpbench_jax.scores.faithfulness`, which runs models, does.
"""

from interpbench_jax.scores.levels import Level as Level
from interpbench_jax.scores.levels import edges_from_nodes as edges_from_nodes
from interpbench_jax.scores.levels import heard as heard
from interpbench_jax.scores.levels import nodes_from_edges as nodes_from_edges
from interpbench_jax.scores.levels import promote_node_scores as promote_node_scores
from interpbench_jax.scores.levels import promote_scores as promote_scores
from interpbench_jax.scores.mib import mib_edge_auc as mib_edge_auc
from interpbench_jax.scores.mib_graph import MIB_UNIVERSE as MIB_UNIVERSE
from interpbench_jax.scores.mib_graph import MibGraph as MibGraph
from interpbench_jax.scores.mib_graph import mib_graph as mib_graph
from interpbench_jax.scores.null import NullInterval as NullInterval
from interpbench_jax.scores.null import null_interval as null_interval
from interpbench_jax.scores.paper import PAPER_THRESHOLDS as PAPER_THRESHOLDS
from interpbench_jax.scores.paper import PAPER_UNIVERSE as PAPER_UNIVERSE
from interpbench_jax.scores.paper import Curve as Curve
from interpbench_jax.scores.paper import kept_curve as kept_curve
from interpbench_jax.scores.paper import paper_auc as paper_auc
from interpbench_jax.scores.paper import paper_curve as paper_curve
from interpbench_jax.scores.paper import staircase_auc as staircase_auc
from interpbench_jax.scores.positions import PositionScore as PositionScore
from interpbench_jax.scores.positions import score_positions as score_positions
from interpbench_jax.scores.rank import RankScore as RankScore
from interpbench_jax.scores.rank import average_precision as average_precision
from interpbench_jax.scores.rank import counted_in as counted_in
from interpbench_jax.scores.rank import edge_auc as edge_auc
from interpbench_jax.scores.rank import edge_auc_by_universe as edge_auc_by_universe
from interpbench_jax.scores.rank import node_auc as node_auc
from interpbench_jax.scores.rank import rank_scores as rank_scores
from interpbench_jax.scores.rank import roc_auc as roc_auc
from interpbench_jax.scores.rank import truth_of as truth_of
from interpbench_jax.scores.recovery import recovery as recovery
from interpbench_jax.scores.selection import keep_largest as keep_largest
from interpbench_jax.scores.selection import on_paths as on_paths
from interpbench_jax.scores.structure import SetScore as SetScore
from interpbench_jax.scores.structure import StructureScore as StructureScore
from interpbench_jax.scores.structure import score_kept as score_kept
from interpbench_jax.scores.structure import score_largest as score_largest
from interpbench_jax.scores.structure import structure_scores as structure_scores
