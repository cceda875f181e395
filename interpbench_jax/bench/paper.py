"""The five methods of InterpBench's paper, as it configured them, on our cases.

Sources: Gupta et al. 2024 (arXiv:2407.14494); the commands in FlyingPumba/InterpBench,
branch `cybershiptrooper/new_experiments`, a93a3b4 (`experiments/commands/templates.py` and
`circuit_discovery_config.py`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from interpbench_jax.axes import Logits
from interpbench_jax.case import Case
from interpbench_jax.cases import TaskPairs
from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.discovery import METHODS, Method, Scores, discover
from interpbench_jax.discovery.acdc import ACDCSettings
from interpbench_jax.discovery.mask_gradient import MaskGradientSettings
from interpbench_jax.discovery.method import FineUniverse
from interpbench_jax.discovery.probing import ProbingSettings
from interpbench_jax.metrics import (
    Metric,
    MetricName,
    PerInput,
    absolute_error_increase,
    summed_cross_entropy,
)
from interpbench_jax.scores import (
    PAPER_THRESHOLDS,
    Curve,
    edges_from_nodes,
    kept_curve,
    paper_auc,
    paper_curve,
    rank_scores,
)
from interpbench_jax.targets import Targets

PaperMethod = Literal["acdc", "node_sp", "edge_sp", "eap", "eap_ig"]
PAPER_METHODS: tuple[PaperMethod, ...] = get_args(PaperMethod)
PAPER_UNIVERSE: FineUniverse = "qkv-merged"
SMALLEST_THRESHOLD = min(threshold for threshold in PAPER_THRESHOLDS if threshold > 0)

_TABLE = Path(__file__).with_name("paper_table.json")
_KEPT_FROM = 0.5


@dataclass(frozen=True)
class PaperSettings:
    """The settings of the paper's methods that can be varied.

    Attributes:
        n_inputs: the number of input pairs; the default is the paper's 1,000.
        seed: the random seed of the inputs and of the methods.
        epochs: the epochs of subnetwork probing; the paper's 5,000 are out of reach for a table.
        regularisations: the regularization strengths of subnetwork probing. Each gives one run
            and one point of the curve, as in the paper, whose strengths are its 19 thresholds.
            None: one run of strength 1, whose curve has a point at every value of the gates.
        probing_inputs: the number of input pairs for subnetwork probing; all by default.
        probing_loss: the loss of probing for classification. `"clean"`: the divergence from the
            clean run. `"softened"`: upstream's, see `softened_divergence`. For regression it is
            always the mean squared error.
    """

    n_inputs: int = 1000
    seed: int = 0
    epochs: int = 300
    regularisations: tuple[float, ...] | None = None
    probing_inputs: int | None = None
    probing_loss: Literal["clean", "softened"] = "clean"


@dataclass(frozen=True)
class PaperCell:
    """The area of a method of the paper on one of our cases, and numbers that explain it.

    Attributes:
        case: the case.
        method: the method, as the paper's table calls it.
        area: the edge area in paper mode; None if it is not defined.
        published: the paper's area, for its own model; None if the paper has none.
        largest: the largest absolute score; if it is below the smallest positive threshold
            of 1e-5, the area is 0.
        rank_head: ROC-AUC of the ranking in the head universe.
        rank_own: ROC-AUC of the ranking in the universe that the methods score.
    """

    case: str
    method: PaperMethod
    area: float | None
    published: float | None
    largest: float
    rank_head: float | None
    rank_own: float | None

    @property
    def difference(self) -> float | None:
        """Our area minus the paper's."""
        if self.area is None or self.published is None:
            return None
        return self.area - self.published


def published_areas() -> Mapping[str, Mapping[str, float]]:
    """Return the paper's edge areas, by case and method."""
    return json.loads(_TABLE.read_text(encoding="utf-8"))["edge_auc"]


def softened_divergence(logits: Logits, clean_logits: Logits, targets: Targets) -> PerInput:
    """Return the divergence of the output from the softmax of one-hot targets, in nats.

    It is the mean over positions. Upstream's subnetwork probing minimizes it
    (`commands/algorithms/sp.py`): the one-hot targets go through a softmax themselves, so that
    even with two classes the correct one has a probability of only 0.73, and a confident, correct
    model is far from the targets. It is not 0 at the clean run.
    """
    wanted = jax.nn.log_softmax(jax.nn.one_hot(jnp.asarray(targets), logits.shape[-1]), axis=-1)
    given = jax.nn.log_softmax(logits, axis=-1)
    return (jnp.exp(wanted) * (wanted - given)).sum(axis=-1).mean(axis=-1)


def run_paper_method(
    name: PaperMethod, case: Case, pairs: TaskPairs, settings: PaperSettings
) -> tuple[Scores, Curve]:
    """Run a method, and return its scores and the curve that its area is computed from.

    Edges are those of `"qkv-merged"`, replacements are resampled, and position 0 is not scored.

    Raises:
        ValueError: if the case's circuit is not known.
    """
    circuit = _circuit(case)
    if name in ("node_sp", "edge_sp"):
        return _probe(name, case, pairs, settings, circuit)
    method, metric = _CONFIGURED[name](case.config)
    scores = _discover(case, pairs, method, metric, settings)
    if name == "acdc":
        kept = np.asarray(scores.details["kept"], bool)
        return scores, kept_curve(kept, circuit, PAPER_UNIVERSE, thresholds=PAPER_THRESHOLDS)
    return scores, paper_curve(scores.values, circuit, PAPER_UNIVERSE)


def paper_cell(
    name: PaperMethod, case: Case, pairs: TaskPairs, settings: PaperSettings
) -> PaperCell:
    """Compute a cell of the paper's table for our model; see `run_paper_method` for the errors."""
    scores, curve = run_paper_method(name, case, pairs, settings)
    return _cell(name, case, scores, paper_auc(curve))


def exact_patching(case: Case, pairs: TaskPairs) -> tuple[float | None, float | None]:
    """Patch every edge alone; return the area in paper mode, and that of the ranking in head.

    Raises:
        ValueError: if the case's circuit is not known.
    """
    scores = _discover(case, pairs, METHODS["exact"], None, PaperSettings())
    curve = paper_curve(scores.values, _circuit(case), PAPER_UNIVERSE)
    return paper_auc(curve), _ranks(scores, _circuit(case))["head"]


def _acdc(config: TransformerConfig) -> tuple[Method, MetricName]:
    return Method(METHODS["acdc"].run, ACDCSettings(PAPER_THRESHOLDS)), _distance(config)


def _eap(config: TransformerConfig) -> tuple[Method, Metric]:
    return METHODS["eap"], _loss(config)


def _eap_ig(config: TransformerConfig) -> tuple[Method, Metric]:
    settings = MaskGradientSettings(steps=10, reduction="sum")
    return Method(METHODS["mask-gradient"].run, settings), _loss(config)


_CONFIGURED: Mapping[
    str, Callable[[TransformerConfig], tuple[Method, Metric] | tuple[Method, MetricName]]
] = {"acdc": _acdc, "eap": _eap, "eap_ig": _eap_ig}


def _distance(config: TransformerConfig) -> MetricName:
    return "mse" if config.is_regression else "kl"


def _loss(config: TransformerConfig) -> Metric:
    """Return the loss: for classes, upstream's `kl_div` with one-hot targets, up to a constant."""
    return absolute_error_increase if config.is_regression else summed_cross_entropy


def _discover(
    case: Case,
    pairs: TaskPairs,
    method: Method,
    metric: Metric | MetricName | None,
    settings: PaperSettings,
    n: int | None = None,
) -> Scores:
    return discover(
        case.model,
        pairs[:n],
        method,
        metric=metric,
        universe=PAPER_UNIVERSE,
        seed=settings.seed,
    )


def _probe(
    name: str, case: Case, pairs: TaskPairs, settings: PaperSettings, circuit: Circuit
) -> tuple[Scores, Curve]:
    """Run subnetwork probing once, or for each strength; the scores are those of the last run."""
    run = METHODS["node-probing" if name == "node_sp" else "edge-probing"].run
    metric: Metric | MetricName = _distance(case.config)
    if settings.probing_loss == "softened" and not case.config.is_regression:
        metric = softened_divergence

    def probe(strength: float) -> Scores:
        own = ProbingSettings(epochs=settings.epochs, lambda_reg=strength)
        chosen = Method(run, own, is_random=True)
        return _discover(case, pairs, chosen, metric, settings, settings.probing_inputs)

    if settings.regularisations is None:
        scores = probe(1.0)
        values = _edge_values(scores, circuit)
        limits = (0.0, *np.unique(values[np.isfinite(values)]).tolist())
        return scores, paper_curve(values, circuit, PAPER_UNIVERSE, thresholds=limits)
    found = [probe(strength) for strength in settings.regularisations]
    kept: Bool[np.ndarray, "strengths edges"] = np.stack(
        [_edge_values(scores, circuit) >= _KEPT_FROM for scores in found]
    )
    limits = settings.regularisations
    return found[-1], kept_curve(kept, circuit, PAPER_UNIVERSE, thresholds=limits)


def _edge_values(scores: Scores, circuit: Circuit) -> Float[np.ndarray, " edges"]:
    if scores.level == "edge":
        return np.asarray(scores.values)
    shape = (circuit.n_layers, circuit.n_heads)
    return edges_from_nodes(np.asarray(scores.values), PAPER_UNIVERSE, *shape)


def _cell(name: PaperMethod, case: Case, scores: Scores, area: float | None) -> PaperCell:
    ranks = _ranks(scores, _circuit(case))
    return PaperCell(
        case=case.case_id,
        method=name,
        area=area,
        published=published_areas().get(case.case_id, {}).get(name),
        largest=float(np.abs(scores.values).max()),
        rank_head=ranks["head"],
        rank_own=ranks[PAPER_UNIVERSE],
    )


def _ranks(scores: Scores, circuit: Circuit) -> dict[str, float | None]:
    """Return the ROC-AUC of edges by universe."""
    found = rank_scores(scores.values, circuit, scores.universe, scores.level, n_draws=1)
    return {rank.universe: rank.roc_auc for rank in found if rank.level == "edge"}


def _circuit(case: Case) -> Circuit:
    """Return the paper's truth: InterpBench's list of edges, including constant ones."""
    return case.truth("upstream")
