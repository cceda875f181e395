"""Results as tables."""

from interpbench_jax.report.sweeps import areas_by_universe as areas_by_universe
from interpbench_jax.report.sweeps import effect_rows as effect_rows
from interpbench_jax.report.sweeps import sweep_as_json as sweep_as_json
from interpbench_jax.report.sweeps import sweep_row as sweep_row
from interpbench_jax.report.tables import auc_table as auc_table
from interpbench_jax.report.tables import case_table as case_table
from interpbench_jax.report.tables import certificate_table as certificate_table
from interpbench_jax.report.tables import circuit_table as circuit_table
from interpbench_jax.report.tables import circuit_tree as circuit_tree
from interpbench_jax.report.tables import effects_table as effects_table
from interpbench_jax.report.tables import methods_table as methods_table
from interpbench_jax.report.tables import pairs_table as pairs_table
from interpbench_jax.report.tables import sweeps_table as sweeps_table
from interpbench_jax.report.tables import tasks_table as tasks_table
