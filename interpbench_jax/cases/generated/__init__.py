"""Random tasks that are hard to take apart, each reproducible from its seed."""

from interpbench_jax.cases.generated.checks import find_problems as find_problems
from interpbench_jax.cases.generated.dials import Dials as Dials
from interpbench_jax.cases.generated.held_out import PrivateTaskError as PrivateTaskError
from interpbench_jax.cases.generated.held_out import SecretKey as SecretKey
from interpbench_jax.cases.generated.task import GeneratedTask as GeneratedTask
from interpbench_jax.cases.generated.task import generate as generate
