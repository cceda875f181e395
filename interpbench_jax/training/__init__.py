"""Training models whose circuits are known."""

from interpbench_jax.training.result import EpochRecord as EpochRecord
from interpbench_jax.training.result import Trained as Trained
from interpbench_jax.training.result import TrainingError as TrainingError
from interpbench_jax.training.trainer import train as train
from interpbench_jax.training.trainer import train_many as train_many
