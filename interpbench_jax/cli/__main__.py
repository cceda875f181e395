"""`python -m interpbench_jax.cli`."""

from interpbench_jax.cli.main import main

main()
