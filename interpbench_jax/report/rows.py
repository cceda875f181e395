"""What a benchmark of methods measured, as rows.

`interpbench_jax.bench.table` keeps them in files; the tables and the plots are made from them.
"""

from dataclasses import dataclass
from typing import get_args

from interpbench_jax.circuit import TruthValue
from interpbench_jax.scores import Level as Level
from interpbench_jax.scores import RankScore
from interpbench_jax.universes import UniverseName

LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """How well one run of a method found one circuit, scored in one universe.

    Attributes:
        case: the case's id.
        tier: how much its model has to do (`interpbench_jax.cases.Task.tier`).
        method: the method's name.
        ablation: what took the place of the outputs; empty where it is not known.
        seed: of the run.
        order: in which the method went through the edges: 0 for that of its settings, from 1 on
            one drawn at random; 0 for methods that have none.
        universe: in which the items were scored.
        level: whether the items are edges or nodes.
        truth: which circuit they were scored against (`interpbench_jax.cases.Task.truth`).
        n_items: how many were scored.
        n_true: how many of them the circuit has.
        n_constant: how many were left out, because they carry what is the same in both inputs.
        roc_auc: area under the ROC curve, in 0..1; None where the circuit has all items or none.
        average_precision: of the ranking, in 0..1.
        null_mean: mean ROC-AUC of rankings at random.
        null_low: lower end of the interval of those.
        null_high: upper end.
        p_value: share of random rankings that do at least as well.
        paper_auc: InterpBench's staircase area over its fixed thresholds.
        precision: of the items that the method chose.
        recall: of those.
        f1: of those.
        shd: structural Hamming distance of the chosen circuit, in edges.
        is_connected: whether the chosen circuit leads from the input to the output.
        cpr: circuit performance ratio, the area under the faithfulness curve of circuits that
            signed scores choose, as in MIB.
        cmd: circuit-model distance, the area between 1 and the faithfulness curve of circuits
            that absolute scores choose.
        metric: that the method measured effects with.
        n_inputs: that it saw.
        seconds: that it took; None where it is not known.
        settings: the method's, as a JSON object.
        package_version: of interpbench-jax.
        jax_version: of JAX.
        device: that it ran on.
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
        """A row with what a ranking says, and nothing of the run that it came from."""
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
    def key(self) -> tuple[tuple[bool, int, str], str, str, int, int, str, str]:
        """What no two rows share; rows are sorted by it, cases by number."""
        case = case_order(self.case)
        run = (case, self.method, self.ablation, self.seed, self.order)
        return *run, self.level, self.universe


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """What one run of a method said of one item of its finest universe.

    Attributes:
        case: the case's id.
        method: the method's name.
        ablation: as of the result.
        seed: of the run.
        order: as of the result.
        level: whether the item is an edge or a node.
        item: its name, such as `"hook_embed -> blocks.0.hook_mlp_in"`.
        value: the score, larger for what matters more; in the unit of the method.
        truth: whether the circuit has it: `"in"`, `"out"`, or `"constant"`.
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
    def key(self) -> tuple[tuple[bool, int, str], str, str, int, int, str, str]:
        """What no two rows share; rows are sorted by it, cases by number."""
        case = case_order(self.case)
        return case, self.method, self.ablation, self.seed, self.order, self.level, self.item


def case_order(case: str) -> tuple[bool, int, str]:
    """A sort key that puts numbers in their order and before words."""
    is_number = case.isdecimal() and case.isascii()
    return not is_number, int(case) if is_number and len(case) < 10 else 0, case
