"""The results of a benchmark of methods, as rows.

`interpbench_jax.bench.table` stores them in files; tables and plots are made from them.
"""

from dataclasses import dataclass
from typing import get_args

from interpbench_jax.circuit import TruthValue
from interpbench_jax.names import CaseOrder, case_order
from interpbench_jax.scores import Level as Level
from interpbench_jax.scores import RankScore
from interpbench_jax.universes import UniverseName

LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """How well one run of a method found one circuit, scored in one universe.

    Attributes:
        case: the case's id.
        tier: the task's tier of difficulty (`interpbench_jax.bench.tiers.tier_of`).
        method: the method's name.
        ablation: the ablation; empty if it is not known.
        seed: the seed of the run.
        order: the order in which the method went through the edges: 0 for that of its settings,
            from 1 on a random one; 0 for methods that have none.
        universe: the universe in which the items were scored.
        level: whether the items are edges or nodes.
        truth: the circuit that they were scored against (`interpbench_jax.cases.Task.truth`).
        n_items: the number of items that were scored.
        n_true: the number of them that the circuit has.
        n_constant: the number of items left out, because they carry the same in both inputs.
        roc_auc: the area under the ROC curve, in 0..1; None if the circuit has all items or none.
        average_precision: the average precision of the ranking, in 0..1.
        null_mean: the mean ROC-AUC of random rankings.
        null_low: the lower end of the interval of those.
        null_high: the upper end of that interval.
        p_value: the share of random rankings that do at least as well.
        paper_auc: InterpBench's staircase area over its fixed thresholds.
        precision: the precision of the items that the method chose.
        recall: the recall of those.
        f1: the F1 of those.
        shd: the structural Hamming distance of the chosen circuit, in edges.
        is_connected: whether the chosen circuit leads from the input to the output.
        cpr: the circuit performance ratio, the area under the faithfulness curve of circuits that
            signed scores choose, as in MIB.
        cmd: the circuit-model distance, the area between 1 and the faithfulness curve of circuits
            that absolute scores choose.
        metric: the metric with which the method measured effects.
        n_inputs: the number of input pairs.
        seconds: the time of the run; None if it is not known.
        settings: the method's settings, as a JSON object.
        package_version: the version of interpbench-jax.
        jax_version: the version of JAX.
        device: the kind of device that it ran on.
        model_digest: SHA-256 of the model's weights (`interpbench_jax.weights.digest_weights`).
        circuit_digest: SHA-256 of the circuit that it was scored against.
        data_digest: SHA-256 of the inputs.
    """

    case: str
    tier: str
    method: str
    ablation: str
    seed: int
    order: int = 0
    universe: UniverseName
    level: Level
    truth: str
    n_items: int
    n_true: int
    n_constant: int
    roc_auc: float | None
    average_precision: float | None = None
    null_mean: float | None = None
    null_low: float | None = None
    null_high: float | None = None
    p_value: float | None = None
    paper_auc: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    shd: int | None = None
    is_connected: bool | None = None
    cpr: float | None = None
    cmd: float | None = None
    metric: str = ""
    n_inputs: int = 0
    seconds: float | None = None
    settings: str = "{}"
    package_version: str = ""
    jax_version: str = ""
    device: str = ""
    model_digest: str = ""
    circuit_digest: str = ""
    data_digest: str = ""

    @classmethod
    def of_rank(
        cls, rank: RankScore, *, case: str, tier: str, method: str, truth: str, model_digest: str
    ) -> "ResultRow":
        """Return a row with a ranking's values, and nothing about the run that it came from."""
        return cls(
            case=case,
            tier=tier,
            method=method,
            ablation="",
            seed=0,
            universe=rank.universe,
            level=rank.level,
            truth=truth,
            n_items=rank.n_items,
            n_true=rank.n_true,
            n_constant=rank.n_constant,
            roc_auc=rank.roc_auc,
            average_precision=rank.average_precision,
            null_mean=rank.null_mean,
            null_low=rank.null_low,
            null_high=rank.null_high,
            p_value=rank.p_value,
            model_digest=model_digest,
        )

    @property
    def key(self) -> tuple[CaseOrder, str, str, int, int, str, str]:
        """The unique key of a row, by which rows are sorted, with cases in numeric order."""
        case = case_order(self.case)
        run = (case, self.method, self.ablation, self.seed, self.order)
        return *run, self.level, self.universe


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """The score that one run of a method gave one item of its finest universe.

    Attributes:
        case: the case's id.
        method: the method's name.
        ablation: the ablation, as in `ResultRow`.
        seed: the seed of the run.
        order: the edge order, as in `ResultRow`.
        level: whether the item is an edge or a node.
        item: the item's name, such as `"hook_embed -> blocks.0.hook_mlp_in"`.
        value: the score, larger for more important items, in the method's unit.
        truth: whether the circuit has the item: `"in"`, `"out"`, or `"constant"`.
    """

    case: str
    method: str
    ablation: str
    seed: int
    order: int = 0
    level: Level
    item: str
    value: float
    truth: TruthValue

    @property
    def key(self) -> tuple[CaseOrder, str, str, int, int, str, str]:
        """The unique key of a row, by which rows are sorted, with cases in numeric order."""
        case = case_order(self.case)
        return case, self.method, self.ablation, self.seed, self.order, self.level, self.item


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """How faithful the circuit of one size is that one run of a method chose.

    Attributes:
        case: the case's id.
        method: the method's name.
        ablation: the ablation, as in `ResultRow`.
        seed: the seed of the run.
        order: the edge order, as in `ResultRow`.
        absolute: whether absolute scores chose the circuit, as for CMD; signed scores choose it
            for CPR. Both are the same for a method without negative scores.
        fraction: the share of the edges, or of the nodes of a method that scores nodes, that the
            circuit keeps, in 0..1.
        n_edges: the number of edges that it keeps, without those on no path to the output.
        faithfulness: 1 if it behaves as the model does, 0 if it behaves as without any edge;
            outside 0..1 if it does worse than either.
    """

    case: str
    method: str
    ablation: str
    seed: int
    order: int = 0
    absolute: bool
    fraction: float
    n_edges: int
    faithfulness: float

    @property
    def key(self) -> tuple[CaseOrder, str, str, int, int, bool, float]:
        """The unique key of a row, by which rows are sorted, with cases in numeric order."""
        run = (case_order(self.case), self.method, self.ablation, self.seed, self.order)
        return *run, self.absolute, self.fraction
