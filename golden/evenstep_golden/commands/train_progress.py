"""What people see of a training: a bar with loss and time left, a line an epoch, and a log for TensorBoard."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from evenstep_golden.training import Log, Processes, Trainer

__all__ = ["train_epochs"]


def train_epochs(
    trainer: Trainer, processes: Processes, *, measure: Callable[[], float], save: Callable[[], None], log: Path | None
) -> None:
    """Train all epochs that are left, with progress.

    Parameters
    ----------
    measure : callable
        Gives the share of test pictures that are right, 0 to 1. Where it raises `ValueError`, that is told instead.
    save : callable
        Writes the checkpoint after each epoch, before that is measured. Called in the first process alone, as all
        printing is done there.
    log : path or None
        Folder for TensorBoard.

    Raises
    ------
    ClickException
        Somebody interrupted the training.
    """
    epochs, steps = trainer.recipe.epochs, trainer.steps
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, disable=not processes.is_first))
        done = trainer.epoch * steps
        writer = None
        if log is not None and processes.is_first:
            writer = stack.enter_context(Log(log, first_step=done))
        task = progress.add_task("training", total=steps * epochs, completed=done)
        kept = trainer.epoch
        try:
            while trainer.epoch < epochs:
                total = 0.0
                for step, loss in enumerate(trainer.run_epoch(), trainer.epoch * steps):
                    total += loss
                    progress.update(task, advance=1, description=f"epoch {step // steps + 1}/{epochs}, loss {loss:.3f}")
                    if writer is not None:
                        writer.step(step, loss, trainer.recipe.rate(step, steps))
                mean = total / steps
                told = f"epoch {trainer.epoch}: loss {mean:.4f}"
                if processes.is_first:
                    save()
                kept = trainer.epoch
                try:
                    share = measure()
                except ValueError as error:
                    # What has no integers now may have them after another epoch.
                    progress.print(f"{told}, not measured: {error}", markup=False)
                    continue
                if not processes.is_first:
                    continue
                progress.print(f"{told}, top-1 on test images {100 * share:.2f} %")
                if writer is not None:
                    writer.epoch(trainer.epoch * steps - 1, mean, share)
        except KeyboardInterrupt:
            hint = f"; --resume goes on after epoch {kept}" if kept else ""
            raise click.ClickException(f"Interrupted in epoch {kept + 1}{hint}") from None
