"""The targets of the benchmark of scale, for both contestants. Needs only NumPy."""

import numpy as np

from benchmarks.speed.job import Job


def targets_of(job: Job) -> np.ndarray:
    """The class of each position: random, so that no contestant has to compute it."""
    n_classes = job.config["d_vocab_out"]
    assert isinstance(n_classes, int)
    drawn = np.random.default_rng(1).integers(0, n_classes, job.clean.shape)
    return drawn.astype(np.int32)
