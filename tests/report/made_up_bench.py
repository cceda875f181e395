"""A benchmark of made-up scores on a made-up circuit, as rows with everything that a run has."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from interpbench_jax.circuit import Circuit
from interpbench_jax.report.rows import CurveRow, ResultRow, ScoreRow
from interpbench_jax.scores import paper_auc, paper_curve, rank_scores
from interpbench_jax.scores.faithfulness import MIB_FRACTIONS, faithfulness_areas
from interpbench_jax.universes import universe

CASES = ("4", "11", "words")
METHODS = ("exact", "noisy", "random")
TIERS = {"4": "regression", "11": "one attention step", "words": "multi-step"}
_NOISE = {"exact": 0.05, "noisy": 0.8}

CIRCUIT = Circuit.from_names(
    [
        ("hook_embed", "blocks.0.hook_mlp_in"),
        ("hook_pos_embed", "blocks.1.hook_q_input[1]"),
        ("blocks.0.hook_mlp_out", "blocks.1.hook_v_input[1]"),
        ("blocks.1.attn.hook_result[1]", "blocks.1.hook_resid_post"),
    ],
    n_layers=2,
    n_heads=2,
    constant=[("hook_pos_embed", "blocks.1.hook_q_input[1]")],
)


@dataclass(frozen=True)
class MadeUpBench:
    results: list[ResultRow]
    scores: list[ScoreRow]
    curves: list[CurveRow]


def made_up_bench(
    cases: Sequence[str] = CASES,
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] = (0,),
    ablations: Sequence[str] = ("resample",),
) -> MadeUpBench:
    """Return rows of edges and nodes; `exact` ranks nearly perfectly, `random` not at all."""
    made = MadeUpBench([], [], [])
    truths = CIRCUIT.edge_truths("qkv")
    is_in = np.asarray([truth == "in" for truth in truths.values()])
    assert len(truths) == len(universe("qkv", 2, 2).edges)
    for number, case in enumerate(cases):
        for index, (method, ablation, seed) in enumerate(
            (m, a, s) for m in methods for a in ablations for s in seeds
        ):
            generator = np.random.default_rng([number, index])
            noise = _NOISE.get(method, 100.0)
            # Rounded, so that there are ties, as most methods have them.
            values = np.round(is_in + noise * generator.random(len(truths)), 2)
            run = {"case": case, "method": method, "ablation": ablation, "seed": seed}
            made.scores.extend(
                ScoreRow(**run, level="edge", item=str(edge), value=float(value), truth=truth)
                for value, (edge, truth) in zip(values, truths.items(), strict=True)
            )
            faithfulness = np.minimum(1, np.sqrt(np.asarray(MIB_FRACTIONS)) + number / 10)
            made.curves.extend(
                CurveRow(
                    **run,
                    absolute=absolute,
                    fraction=fraction,
                    n_edges=round(fraction * len(truths)),
                    faithfulness=float(height),
                )
                for absolute in (False, True)
                for fraction, height in zip(MIB_FRACTIONS, faithfulness, strict=True)
            )
            areas = faithfulness_areas(np.asarray(MIB_FRACTIONS), faithfulness)
            made.results.extend(_results(case, run, values, areas))
    return made


def _results(
    case: str, run: dict[str, object], values: np.ndarray, areas: tuple[float, float]
) -> list[ResultRow]:
    paper = paper_auc(paper_curve(values, CIRCUIT, "qkv"), "edge")
    rows = []
    for rank in rank_scores(values, CIRCUIT, n_draws=40):
        row = ResultRow.of_rank(
            rank,
            case=case,
            tier=TIERS.get(case, ""),
            method=str(run["method"]),
            truth="complete",
            model_digest=case.encode().hex().zfill(64),
        )
        is_finest = (rank.universe, rank.level) == ("qkv", "edge")
        rows.append(
            replace(
                row,
                ablation=str(run["ablation"]),
                seed=int(str(run["seed"])),
                paper_auc=paper if (rank.universe, rank.level) == ("head", "edge") else None,
                cpr=areas[0] if is_finest else None,
                cmd=areas[1] if is_finest else None,
                metric="kl",
                n_inputs=100,
                seconds=1.5,
                package_version="0.1.0",
                jax_version="0.10.2",
                device="cpu",
                circuit_digest="c" * 64,
                data_digest="d" * 64,
            )
        )
    return rows
