"""Training: one recipe for float and for quantized networks, so that they can be compared."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from evenstep_golden.data import Dataset
from evenstep_golden.models.base import Classifier
from evenstep_golden.training.batches import Batches
from evenstep_golden.training.distributed import Processes
from evenstep_golden.training.groups import parameter_groups
from evenstep_golden.training.loss import training_loss
from evenstep_golden.training.recipe import Recipe

__all__ = ["Trainer"]

_KEYS = {"recipe", "pictures", "teacher", "epoch", "optimizer"}
#: What each optimizer remembers of a parameter: numbers of its shape, and single numbers.
_MEMORY = {"adam": ({"exp_avg", "exp_avg_sq"}, {"step"}), "sgd": ({"momentum_buffer"}, set[str]())}
_ALONE = Processes()


class Trainer:
    """Trains `model` on `dataset`, an epoch at a time.

    Alone, the same model, data and recipe give the same numbers on the same machine, to the last bit, however often
    the training was interrupted.

    Parameters
    ----------
    model : Classifier
        Its quantizers are initialized. It is moved to the processes' device.
    dataset : Dataset
        Pictures to learn from; at least a batch of them.
    recipe : Recipe
        How.
    teacher : Classifier, optional
        Gives answers to learn from, where the recipe says so.
    processes : Processes
        Who trains together. All must do the same calls.

    Attributes
    ----------
    epoch : int
        Epochs that are over.
    """

    def __init__(
        self,
        model: Classifier,
        dataset: Dataset,
        recipe: Recipe,
        *,
        teacher: Classifier | None = None,
        processes: Processes = _ALONE,
    ) -> None:
        if (teacher is None) != (recipe.distillation == 0):
            given = "None" if teacher is None else "one"
            raise ValueError(f"Teacher must go with a distillation above 0: got {given}, and {recipe.distillation}")
        for name, one in (("Model", model), ("Teacher", teacher)):
            if one is not None and (one.input_shape, one.classes) != (dataset.shape, len(dataset.classes)):
                raise ValueError(
                    f"{name} must take pictures of {dataset.shape} and know {len(dataset.classes)} classes, as the "
                    f"data set has them, not {one.input_shape} and {one.classes}"
                )
        self._batches = Batches(
            dataset,
            recipe.batch_size,
            seed=recipe.seed,
            augment=recipe.augment,
            rank=processes.rank,
            count=processes.count,
        )
        self.model, self.recipe, self.epoch = model.to(processes.device), recipe, 0
        self._pictures = _digest_of_pictures(dataset)
        self._teacher = None if teacher is None else teacher.to(processes.device).eval()
        self._processes = processes
        self._parallel: nn.Module = model
        if processes.count > 1:
            self._parallel = DistributedDataParallel(model)
        groups = parameter_groups(model, recipe)
        # One fused kernel: of small networks, a step of parameter after parameter would take longer than the rest.
        self._optimizer: torch.optim.Optimizer
        if recipe.optimizer == "adam":
            self._optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
        else:
            self._optimizer = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, fused=True)
        self._within_epoch = False

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self._batches.steps

    def rate(self, step: int) -> float:
        """Learning rate of weights at `step` of the present epoch."""
        return self.recipe.rate(self.epoch * self.steps + step, self.steps)

    def _loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
        taught = None
        if self._teacher is not None:
            with torch.no_grad():
                taught = self._teacher.values(pixels)
        return training_loss(self._parallel(pixels), labels, self.recipe, taught)

    def run_epoch(self) -> Iterator[float]:
        """Train for one epoch; gives the mean loss, in nats, of every step.

        Raises
        ------
        ValueError
            A loss is not finite.
        """
        self._parallel.train()
        self._within_epoch = True
        for step, (pixels, labels) in enumerate(self._batches.epoch(self.epoch)):
            rate = self.rate(step)
            for group in self._optimizer.param_groups:
                group["lr"] = rate * group["share"]
            device = self._processes.device
            loss = self._loss(torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device))
            mean = self._processes.sum(loss.detach().clone()).item() / self._processes.count
            if not math.isfinite(mean):
                raise ValueError(
                    f"Loss is not finite in epoch {self.epoch + 1}, step {step + 1}: lower the learning rate"
                )
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            yield mean
        self.epoch += 1
        self._within_epoch = False

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, besides the model's own state, to go on after a whole epoch: tensors and numbers.

        There is no state of a generator: order and variants of the pictures follow from seed and epoch.

        Raises
        ------
        RuntimeError
            An epoch was interrupted: the model is what no other run would go on from in the same way.
        """
        if self._within_epoch:
            raise RuntimeError(f"Training must be between epochs to be saved, not within epoch {self.epoch + 1}")
        return {
            "recipe": asdict(self.recipe),
            "pictures": self._pictures,
            "teacher": "" if self._teacher is None else _digest(self._teacher.state_dict().values()),
            "epoch": self.epoch,
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, with the model as it was then.

        Raises
        ------
        ValueError
            It belongs to another recipe, other pictures or another model, or is no such state.
        """
        if not isinstance(state, dict) or set(state) != _KEYS:
            raise ValueError("State of the training must be complete")
        if repr(state["recipe"]) != repr(asdict(self.recipe)):  # texts, since a damaged one may hold anything
            raise ValueError(f"Recipe must be that of the checkpoint, {_differences(state['recipe'], self.recipe)}")
        if state["pictures"] != self._pictures:
            raise ValueError("Pictures must be the same as before, which they are not")
        if state["teacher"] != self.state()["teacher"]:
            raise ValueError("Teacher must be the same as before, which it is not")
        if not isinstance(state["epoch"], int) or not 0 <= state["epoch"] <= self.recipe.epochs:
            raise ValueError(f"Epoch must be from 0 to {self.recipe.epochs}, not {state['epoch']!r}")
        self._check_optimizer(state["optimizer"], state["epoch"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.epoch, self._within_epoch = state["epoch"], False

    def _check_optimizer(self, saved: Any, epoch: int) -> None:
        """Check what torch does not: its fused kernels would follow moments of any shape and stride out of memory."""
        own = self._optimizer.state_dict()
        moments, numbers = _MEMORY[self.recipe.optimizer]
        if self.recipe.optimizer == "sgd" and not self.recipe.momentum:
            moments = set[str]()
        try:
            groups = [{**group, "lr": None} for group in saved["param_groups"]]
            if groups != [{**group, "lr": None} for group in own["param_groups"]]:
                raise ValueError("State of the optimizer must be that of this model, which has other parameters")
            parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
            for number, values in saved["state"].items():
                if {key for key, value in values.items() if value is not None} != moments | numbers:
                    raise ValueError("State of the optimizer must be complete")
                for key in moments:
                    _check_moment(values[key], parameters[number])
                for key in numbers:
                    if not isinstance(values[key], Tensor) or values[key].shape != () or not values[key] >= 1:
                        raise ValueError("Steps of the optimizer must be positive numbers")
            if epoch and moments and saved["state"].keys() != set(range(len(parameters))):
                raise ValueError("State of the optimizer must be complete")
        except (AttributeError, LookupError, TypeError, RuntimeError) as error:
            raise ValueError(f"State of the optimizer must be complete: {error}") from error


def _check_moment(value: Any, parameter: Tensor) -> None:
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise ValueError("Moments of the optimizer must be dense tensors")
    if (value.shape, value.dtype) != (parameter.shape, parameter.dtype) or not value.is_contiguous():
        raise ValueError("Moments of the optimizer must have the shapes and the type of this model's parameters")


def _digest(tensors: Iterable[Tensor]) -> str:
    """Text that differs between different tensors."""
    result = hashlib.sha256()
    for tensor in tensors:
        result.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return result.hexdigest()


def _digest_of_pictures(dataset: Dataset) -> str:
    """Text that differs between different data sets: all labels count, and some of the pictures."""
    some = np.arange(0, len(dataset), max(1, len(dataset) // 16))
    result = hashlib.sha256(dataset.labels.tobytes())
    result.update(np.ascontiguousarray(dataset.batch(some)).tobytes())
    return result.hexdigest()


def _differences(saved: Any, recipe: Recipe) -> str:
    if not isinstance(saved, dict):
        return "which it lacks"
    own = asdict(recipe)
    different = [key for key in own if repr(saved.get(key)) != repr(own[key])]
    return "with " + ", ".join(f"{key} {saved.get(key)!r}, not {own[key]!r}" for key in different)
