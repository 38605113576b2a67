"""What a training run is made of, besides model and pictures."""

import math
from dataclasses import dataclass
from typing import Any

from evenstep.checks import check_choice, check_int

__all__ = ["OPTIMIZERS", "SCHEDULES", "Recipe"]

#: How the learning rate decays, by name.
SCHEDULES = ("linear", "cosine", "constant")
#: Optimizers by name.
OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train; the defaults are those of the N2UQ paper (section 4.1), as far as pictures of clothes need them.

    Parameters
    ----------
    epochs : int
        Times that every picture is seen.
    batch_size : int
        Pictures a step, of all processes together; those left over at the end of an epoch wait for the next shuffle.
    learning_rate : float
        Largest rate.
    seed : int
        Seed of initial weights, order and variants of the pictures.
    schedule : str
        After the warm-up, each step's rate is ``"constant"`` or falls from the largest to zero, ``"linear"`` or
        ``"cosine"``. N2UQ's code lowers the rate once an epoch, so that its last epoch runs at zero.
    warmup_epochs : int
        First epochs, in which the rate rises evenly.
    weight_decay : float
        Of weights alone, decoupled from the gradient with Adam (Loshchilov and Hutter, 2019), which makes no
        difference at zero, where N2UQ has it.
    optimizer : str
        ``"adam"`` or ``"sgd"``.
    momentum : float
        Of ``"sgd"``; Adam's moments are the usual 0.9 and 0.999.
    label_smoothing : float
        Share of a label that all classes get evenly.
    distillation : float
        Weight of the teacher's answers in the loss, from 0 to 1; the labels have the rest. N2UQ's is 1.
    temperature : float
        What teacher's and student's logits are divided by to compare them.
    augment : bool
        Show variants of the pictures, where their data set has any.
    slow_share : float
        Learning rate of quantizers' thresholds and scales, as a share of the weights'.
    """

    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 4e-3
    seed: int = 0
    schedule: str = "linear"
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    optimizer: str = "adam"
    momentum: float = 0.9
    label_smoothing: float = 0.0
    distillation: float = 0.0
    temperature: float = 1.0
    augment: bool = True
    slow_share: float = 0.1

    def __post_init__(self) -> None:
        check_int("Epochs", self.epochs, 1)
        check_int("Batch size", self.batch_size, 2)
        check_int("Seed", self.seed, 0, 2**63 - 1)
        check_int("Warm-up epochs", self.warmup_epochs, 0, self.epochs)
        check_choice("Schedule", self.schedule, SCHEDULES)
        check_choice("Optimizer", self.optimizer, OPTIMIZERS)
        if not isinstance(self.augment, bool):
            raise TypeError(f"Augment must be True or False, not {self.augment!r}")
        _check_number("Learning rate", self.learning_rate, "a positive number", self.learning_rate > 0)
        _check_number("Temperature", self.temperature, "a positive number", self.temperature > 0)
        _check_number("Weight decay", self.weight_decay, "a non-negative number", self.weight_decay >= 0)
        for name, value in (("Momentum", self.momentum), ("Label smoothing", self.label_smoothing)):
            _check_number(name, value, "a number from 0 to less than 1", 0 <= value < 1)
        _check_number("Distillation", self.distillation, "a number from 0 to 1", 0 <= self.distillation <= 1)
        _check_number("Slow share", self.slow_share, "a number above 0, up to 1", 0 < self.slow_share <= 1)

    def rate(self, step: int, epoch_steps: int) -> float:
        """Learning rate of `step`, counted from the first of the training, where an epoch has `epoch_steps`."""
        warmup, total = self.warmup_epochs * epoch_steps, self.epochs * epoch_steps
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - warmup) / (total - warmup)
        share = 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * share


def _check_number(name: str, value: Any, wanted: str, in_range: bool) -> None:
    if not (in_range and math.isfinite(value)):
        raise ValueError(f"{name} must be {wanted}, not {value!r}")
