"""A small benchmark's rows, in the form in which the runner writes them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from interpbench_jax.bench.submission import FORMAT, CaseTruth, item_names
from interpbench_jax.bench.tiers import tier_of
from interpbench_jax.cases import CASES, TruthName
from interpbench_jax.names import Level
from interpbench_jax.report.rows import ResultRow, ScoreRow
from interpbench_jax.scores import edge_auc_by_universe
from interpbench_jax.universes import UNIVERSES, UniverseName

# One case per tier.
CASES_USED = ("3", "11", "21")
METHODS = ("exact", "noisy", "random")


@dataclass(frozen=True)
class Fake:
    results: list[ResultRow]
    scores: list[ScoreRow]


@cache
def truths() -> dict[str, CaseTruth]:
    """Return the truths of the cases used, with made-up digests."""
    return {
        case: CaseTruth(
            "upstream", CASES[case].upstream_circuit, digest_of(case), tier_of(CASES[case])
        )
        for case in CASES_USED
    }


def digest_of(case: str) -> str:
    return case.encode().hex().zfill(64)


def fake_bench(
    methods: Sequence[str] = METHODS,
    ablations: Sequence[str] = ("resample",),
    seeds: Sequence[int] = (0,),
    cases: Sequence[str] = CASES_USED,
    truth: TruthName = "upstream",
) -> Fake:
    """Return edge scores in `qkv` and areas in every universe; `exact` ranks the circuit first."""
    fake = Fake([], [])
    for case in cases:
        circuit = CASES[case].truth(truth)
        names = item_names("qkv", "edge", circuit.n_layers, circuit.n_heads)
        truths_of_edges = list(circuit.edge_truths("qkv").values())
        is_in = np.asarray([each == "in" for each in truths_of_edges])
        for index, (method, ablation, seed) in enumerate(
            (m, a, s) for m in methods for a in ablations for s in seeds
        ):
            generator = np.random.default_rng([int(case), index])
            noise = {"exact": 0.0, "noisy": 2.0}.get(method, 1000.0)
            values = is_in * 1.0 + noise * generator.random(len(names))
            run = {"case": case, "method": method, "ablation": ablation, "seed": seed}
            fake.scores.extend(
                ScoreRow(**run, level="edge", item=name, value=float(value), truth=each)
                for name, value, each in zip(names, values, truths_of_edges, strict=True)
            )
            for universe, area in edge_auc_by_universe(values, circuit).items():
                fake.results.append(
                    result_row(**run, universe=universe, roc_auc=area, n_true=int(is_in.sum()))
                )
    return fake


def result_row(
    case: str = "11",
    method: str = "exact",
    *,
    ablation: str = "resample",
    seed: int = 0,
    universe: UniverseName = "head",
    level: Level = "edge",
    roc_auc: float | None = 1.0,
    n_true: int = 3,
    **others: object,
) -> ResultRow:
    values: dict[str, object] = {
        "truth": "upstream",
        "n_constant": 2,
        "average_precision": roc_auc,
        "paper_auc": 0.5 if universe == "head" else None,
        "cpr": 0.75,
        "cmd": None,
        "is_connected": True,
        "shd": 2,
        "metric": "kl",
        "n_inputs": 100,
        "seconds": 1.5,
        "settings": '{"steps": 5}',
        "package_version": "0.1.0",
        "jax_version": "0.10.2",
        "device": "cpu",
        "model_digest": digest_of(case),
        "circuit_digest": "c",
        "data_digest": "d",
    }
    return ResultRow(
        case=case,
        tier=tier_of(CASES[case]) if case in CASES else "",
        method=method,
        ablation=ablation,
        seed=seed,
        universe=universe,
        level=level,
        n_items=53,
        n_true=n_true,
        roc_auc=roc_auc,
        **values | others,  # pyright: ignore[reportArgumentType]
    )


def submission(
    universe: UniverseName = "head", level: Level = "edge", method: str = "mine"
) -> dict:
    """Return a valid submission of perfect scores as plain JSON values."""
    assert universe in UNIVERSES
    cases = []
    for case, truth in truths().items():
        circuit = truth.circuit
        items = circuit.in_universe(universe) if level == "edge" else circuit.nodes_in(universe)
        inside = set(map(str, items))
        names = item_names(universe, level, circuit.n_layers, circuit.n_heads)
        cases.append(
            {
                "case": case,
                "model_digest": truth.model_digest,
                "universe": universe,
                "level": level,
                "scores": [[name, float(name in inside)] for name in names],
            }
        )
    made = {
        "format": FORMAT,
        "version": 1,
        "method": method,
        "authors": ["A. Person"],
        "description": "Knows the answer.",
        "settings": {"steps": 1},
        "cases": cases,
    }
    return json.loads(json.dumps(made))
