"""Benchmarks of methods on cases: result tables, comparisons, submissions and leaderboards."""

from interpbench_jax.bench.compare import BenchComparison as BenchComparison
from interpbench_jax.bench.compare import compare_results as compare_results
from interpbench_jax.bench.export import export_submission as export_submission
from interpbench_jax.bench.leaderboard import Board as Board
from interpbench_jax.bench.leaderboard import read_board as read_board
from interpbench_jax.bench.leaderboard import score_submission as score_submission
from interpbench_jax.bench.problems import SubmissionProblem as SubmissionProblem
from interpbench_jax.bench.submission import CaseTruth as CaseTruth
from interpbench_jax.bench.submission import CheckedSubmission as CheckedSubmission
from interpbench_jax.bench.submission import Submission as Submission
from interpbench_jax.bench.submission import check_submission as check_submission
from interpbench_jax.bench.submission import read_submission as read_submission
from interpbench_jax.bench.table import CURVES_FILE as CURVES_FILE
from interpbench_jax.bench.table import RESULTS_FILE as RESULTS_FILE
from interpbench_jax.bench.table import SCORES_FILE as SCORES_FILE
from interpbench_jax.bench.table import read_curves as read_curves
from interpbench_jax.bench.table import read_results as read_results
from interpbench_jax.bench.table import read_scores as read_scores
from interpbench_jax.bench.table import write_tables as write_tables
from interpbench_jax.report.rows import CurveRow as CurveRow
from interpbench_jax.report.rows import ResultRow as ResultRow
from interpbench_jax.report.rows import ScoreRow as ScoreRow
