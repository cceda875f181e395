"""A benchmark as one HTML page that needs no other file and no network."""

from interpbench_jax.report.page.html import report_html as report_html
from interpbench_jax.report.page.texts import CaseText as CaseText
