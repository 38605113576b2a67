"""Command-line options that make a recipe."""

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from evenstep_golden.training import OPTIMIZERS, SCHEDULES, Recipe

__all__ = ["recipe_options"]

#: Option, its kind and its text, for each field of `Recipe` that has one.
_OPTIONS: dict[str, tuple[str, Any, str]] = {
    "epochs": ("--epochs", int, "Passes over the data."),
    "batch_size": ("--batch-size", int, "Pictures a step, of all processes together."),
    "learning_rate": ("--lr", float, "Largest learning rate."),
    "seed": ("--seed", int, "Seed of all randomness."),
    "schedule": ("--schedule", click.Choice(SCHEDULES), "How the learning rate decays."),
    "warmup_epochs": ("--warmup", int, "Epochs in which the learning rate rises first."),
    "weight_decay": ("--weight-decay", float, "Decay of weights, of nothing else."),
    "optimizer": ("--optimizer", click.Choice(OPTIMIZERS), "What takes the steps."),
    "momentum": ("--momentum", float, "Momentum of sgd."),
    "label_smoothing": ("--label-smoothing", float, "Share of a label that all classes get evenly."),
    "temperature": ("--temperature", float, "What logits are divided by to compare them with a teacher's."),
}


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` options for a `Recipe`, and a `recipe` and the file of the `teacher` in their place."""

    @click.option(
        "--teacher", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Checkpoint to learn from."
    )
    @click.option(
        "--distill", type=float, help="Weight of the teacher's answers, 0 to 1; the labels have the rest.  [default: 1]"
    )
    @click.option("--augment/--no-augment", default=True, show_default=True, help="Show variants of the pictures.")
    @wraps(command)
    def with_recipe(*, teacher: Path | None, distill: float | None, augment: bool, **values: Any) -> Any:
        if teacher is None and distill is not None:
            raise click.UsageError("--distill needs a --teacher")
        if distill == 0:
            raise click.UsageError("--distill must be above 0: leave out the teacher otherwise")
        given = {name: values.pop(name) for name in _OPTIONS}
        weight = 0.0 if teacher is None else 1.0 if distill is None else distill
        return command(recipe=Recipe(**given, distillation=weight, augment=augment), teacher=teacher, **values)

    defaults = {field.name: field.default for field in fields(Recipe)}
    decorated = with_recipe
    for name, (flag, kind, text) in reversed(_OPTIONS.items()):
        option = click.option(flag, name, type=kind, default=defaults[name], show_default=True, help=text)
        decorated = option(decorated)
    return decorated
