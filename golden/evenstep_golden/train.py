"""Training: one recipe for the float and for the quantized network, so that the two can be compared.

Adam and a linear decay of the learning rate to zero, as in the N2UQ paper (section 4.1): all parameters of the
activation quantizers take a tenth of the rate. Both networks start from random weights and learn from the labels.
Pictures are mirrored at random, since a shoe may point either way.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from evenstep.checks import check_int
from evenstep_golden.data import Images
from evenstep_golden.models import FloatPerceptron, QuantPerceptron

__all__ = ["Recipe", "Trainer", "build_model", "measure_accuracy"]

_SIDE = 28
_SLOW = ("start", "intervals", "scale_in", "scale_out", "log_gain")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a training run is made of, besides model and pictures.

    Parameters
    ----------
    epochs : int
        Times that every picture is seen.
    batch_size : int
        Pictures a step; those left over at the end of an epoch wait for the next shuffle.
    learning_rate : float
        Rate of the first step.
    seed : int
        Seed of initial weights, order and mirroring.
    """

    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 4e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check_int("Epochs", self.epochs, 1)
        check_int("Batch size", self.batch_size, 2)
        check_int("Seed", self.seed, 0, 2**63 - 1)
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"Learning rate must be a positive number, not {self.learning_rate!r}")


def build_model(bits: tuple[int, int] | None, *, seed: int) -> QuantPerceptron | FloatPerceptron:
    """A model with weights drawn from `seed`: `bits` of weights and activations, or None for the float network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FloatPerceptron() if bits is None else QuantPerceptron(weight_bits=bits[0], act_bits=bits[1])


@torch.no_grad()
def measure_accuracy(model: nn.Module, images: Images) -> float:
    """Share of `images`, 0 to 1, that `model` gives its highest logit for the right class."""
    model.eval()
    pixels, labels = torch.tensor(images.pixels), torch.tensor(images.labels)
    right = sum(
        int((model(part).argmax(1) == truth).sum())
        for part, truth in zip(pixels.split(1000), labels.split(1000), strict=True)
    )
    return right / len(images)


class Trainer:
    """Trains `model` on `images`, an epoch at a time.

    Parameters
    ----------
    model : Module
        Takes pixel codes (batch, 784), gives logits.
    images : Images
        Pictures to learn from; at least a batch of them.
    recipe : Recipe
        How.
    """

    def __init__(self, model: nn.Module, images: Images, recipe: Recipe) -> None:
        if len(images) < recipe.batch_size:
            raise ValueError(f"Batch size must be at most the {len(images)} pictures, not {recipe.batch_size}")
        self.model = model
        self.recipe = recipe
        self.epoch = 0
        self._pixels = torch.tensor(images.pixels)
        self._labels = torch.tensor(images.labels).long()
        self._generator = torch.Generator().manual_seed(recipe.seed)
        named = list(model.named_parameters())
        slow = [parameter for name, parameter in named if name.rsplit(".", 1)[-1] in _SLOW]
        fast = [parameter for name, parameter in named if name.rsplit(".", 1)[-1] not in _SLOW]
        self._shares = (1.0, 0.1)
        self._optimizer = torch.optim.Adam([{"params": fast}, {"params": slow}])

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self._labels) // self.recipe.batch_size

    def _mirrored(self, pixels: Tensor) -> Tensor:
        pictures = pixels.view(-1, _SIDE, _SIDE)
        chosen = torch.rand(len(pictures), generator=self._generator) < 0.5
        return torch.where(chosen[:, None, None], pictures.flip(2), pictures).flatten(1)

    def run_epoch(self) -> Iterator[float]:
        """Train for one epoch; gives the loss (mean cross-entropy, in nats) of every step."""
        self.model.train()
        order = torch.randperm(len(self._labels), generator=self._generator)
        total = self.steps * self.recipe.epochs
        for step in range(self.steps):
            chosen = order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
            rate = self.recipe.learning_rate * (1 - (self.epoch * self.steps + step) / total)
            for group, share in zip(self._optimizer.param_groups, self._shares, strict=True):
                group["lr"] = rate * share
            loss = nn.functional.cross_entropy(self.model(self._mirrored(self._pixels[chosen])), self._labels[chosen])
            if not torch.isfinite(loss):
                raise ValueError(f"Loss is not finite in epoch {self.epoch + 1}: lower the learning rate")
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            yield loss.item()
        self.epoch += 1

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, besides the model's own state, to go on after a whole epoch."""
        return {
            "recipe": asdict(self.recipe),
            "epoch": self.epoch,
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; raises `ValueError` if it belongs to another recipe."""
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(f"Recipe must be that of the checkpoint, {Recipe(**state['recipe'])}, not {self.recipe}")
        self.epoch = state["epoch"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
