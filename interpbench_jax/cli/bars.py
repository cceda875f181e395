"""Progress of training: one bar for each stack of models."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from interpbench_jax.cli.terminal import terminal

if TYPE_CHECKING:
    from rich.progress import Progress

    from interpbench_jax.training import EpochRecord
    from interpbench_jax.training.stack import Stack


@contextmanager
def training_bars(hidden: bool) -> "Iterator[TrainingBars | None]":
    """Show bars on standard error, one for each stack that is trained; none if `hidden`."""
    if hidden:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[accuracies]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=terminal(stderr=True)) as shown:
        yield TrainingBars(shown)


class TrainingBars:
    def __init__(self, shown: "Progress"):
        self.shown = shown

    def begin(self, stack: "Stack") -> "Callable[[tuple[EpochRecord, ...], int], None]":
        """Add a bar over a stack's epochs; return the callback to call after each epoch."""
        case_ids = " ".join(task.case_id for task in stack.tasks)
        bar = self.shown.add_task(
            f"case {case_ids}", total=stack.recipe.epochs, accuracies="compiling"
        )

        def report(records: "tuple[EpochRecord, ...]", most: int) -> None:
            best: dict[str, EpochRecord] = {}
            for record in sorted(records, key=lambda record: record.lowest):
                best[record.case_id] = record
            last = min(best.values(), key=lambda record: record.lowest)
            self.shown.update(
                bar,
                completed=last.epoch,
                total=most,
                accuracies=f"{last.case_id}: accuracy {last.accuracy:.2%}, IIA {last.iia:.2%}, "
                f"strict {last.strict:.2%}, edges {last.edges:.2%}",
            )

        return report

    def end(self) -> None:
        """Fill the last bar, whose models may have finished before the maximum of epochs."""
        bar = self.shown.tasks[-1]
        self.shown.update(bar.id, total=bar.completed)
