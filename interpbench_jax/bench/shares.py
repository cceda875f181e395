"""How the runs of a benchmark are cut into shares, one for each shard."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate

from interpbench_jax.bench.plan import UNIVERSE, BenchSettings, Run, Subject, plan_runs
from interpbench_jax.bench.shards import Shard
from interpbench_jax.universes import universe


def plan_share(
    subjects: Sequence[Subject], settings: BenchSettings, shard: Shard
) -> tuple[Run, ...]:
    """Return a shard's share of `plan_runs`; a run weighs as many edges as its model has."""
    configs = {subject.case.case_id: subject.case.config for subject in subjects}
    edges = {
        case: len(universe(UNIVERSE, config.n_layers, config.n_heads).edges)
        for case, config in configs.items()
    }
    return share_runs(plan_runs(subjects, settings), edges, configs, shard)


def share_runs(
    runs: Sequence[Run], weights: Mapping[str, int], shapes: Mapping[str, Hashable], shard: Shard
) -> tuple[Run, ...]:
    """Return a shard's share of the runs, in the order of `runs`.

    The runs are ordered by shape, case and seed, because models of one shape share compiled
    programs, and the runs of a case and seed share inputs. That order is cut into contiguous
    shares. Each cut is at most half of the heaviest run away from the point that makes all shares
    equal; so the weight of a share differs from the mean by at most the heaviest run. Where this
    leaves a choice, the cut is between two shapes, or else nearest to that point.

    Args:
        runs: all runs.
        weights: the weight of a run of each case, at least 1.
        shapes: the shape of each case's model.
        shard: which share, of how many.
    """
    shape_places: dict[Hashable, int] = {}
    case_places: dict[str, int] = {}
    for place, run in enumerate(runs):
        shape_places.setdefault(shapes[run.case], place)
        case_places.setdefault(run.case, place)

    def position(place: int) -> tuple[int, int, int]:
        run = runs[place]
        return shape_places[shapes[run.case]], case_places[run.case], run.seed

    ordered = sorted(range(len(runs)), key=position)
    own_weights = [weights[runs[place].case] for place in ordered]
    own_shapes = [shapes[runs[place].case] for place in ordered]
    first, end = (
        _cut(own_weights, own_shapes, index, shard.of) for index in (shard.index, shard.index + 1)
    )
    return tuple(runs[place] for place in sorted(ordered[first:end]))


def _cut(weights: Sequence[int], shapes: Sequence[Hashable], index: int, of: int) -> int:
    """Return how many of the runs, in their order, are in the first `index` of the shares."""
    ends = [0, *accumulate(weights)]
    # In units of 1/of, so that all numbers are integers and every machine cuts alike.
    ideal, heaviest = ends[-1] * index, max(weights, default=0) * of

    def rank(place: int) -> tuple[bool, bool, int]:
        distance = abs(ends[place] * of - ideal)
        is_within_shape = 0 < place < len(shapes) and shapes[place - 1] == shapes[place]
        return 2 * distance > heaviest, is_within_shape, distance

    return min(range(len(ends)), key=rank)
