"""Weights of a layer as the post-training steps see them, and the checks that these steps share.

The steps are pure functions on tensors: they take layers and vectors, and return new ones, in the type that they were
given. Between, they compute in float64 and round once, because they run in sequence and float32 errors would add up.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evenstep.checks import check_int
from evenstep_golden.tensors import check_finite

__all__ = [
    "LayerWeights",
    "as_double",
    "check_follows",
    "check_positive",
    "check_tensor",
    "check_vector",
    "constant_response",
]


def check_tensor(name: str, value: Any) -> Tensor:
    """Return `value`, detached, if it is a tensor of finite floats.

    Raises
    ------
    TypeError
        It is no tensor, or none of floats.
    ValueError
        It is empty, or holds NaN or an infinity.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, not {value!r}")
    if not value.is_floating_point():
        raise TypeError(f"{name} must be a tensor of floats, not of {value.dtype}")
    if value.numel() == 0:
        raise ValueError(f"{name} must hold at least one value, not shape {tuple(value.shape)}")
    return check_finite(name, value)


def check_vector(name: str, value: Any, length: int | None = None) -> Tensor:
    """Return `value` if it is a finite tensor of shape (length,), or of any length where that is not given."""
    value = check_tensor(name, value)
    if value.ndim != 1 or (length is not None and len(value) != length):
        wanted = "one dimension" if length is None else f"shape ({length},)"
        raise ValueError(f"{name} must have {wanted}, not {tuple(value.shape)}")
    return value


def check_positive(name: str, value: Any) -> float:
    """Return `value` as a float if it is a positive, finite number."""
    try:
        if isinstance(value, bool | str):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a positive number, not {value!r}") from None
    if not 0 < number < float("inf"):
        raise ValueError(f"{name} must be a positive number, not {value!r}")
    return number


def as_double(vector: Tensor, ndim: int, axis: int) -> Tensor:
    """`vector` (n,) in float64, shaped to run along `axis` of a tensor with `ndim` dimensions."""
    shape = [1] * ndim
    shape[axis] = -1
    return vector.double().reshape(shape)


@dataclass(frozen=True)
class LayerWeights:
    """Weight and bias of a fully connected layer or a convolution.

    Parameters
    ----------
    weight : Tensor, shape (outputs, inputs / groups, ...)
        The dimensions after the second are the kernel. A fully connected layer behind a flattened image counts as a
        convolution whose kernel is the image: reshape its weight to (outputs, channels, positions).
    bias : Tensor, shape (outputs,), or None
        None counts as zeros.
    groups : int
        Groups of a convolution; as many as inputs for a depthwise one.

    Raises
    ------
    TypeError, ValueError
        A tensor is no tensor of floats, has the wrong shape, or holds NaN or an infinity.
    """

    weight: Tensor
    bias: Tensor | None = None
    groups: int = 1

    def __post_init__(self) -> None:
        weight = check_tensor("Weight", self.weight)
        groups = check_int("Groups", self.groups, 1)
        if weight.ndim < 2:
            raise ValueError(f"Weight must have shape (outputs, inputs, ...), not {tuple(weight.shape)}")
        if len(weight) % groups:
            raise ValueError(f"Groups must divide the {len(weight)} outputs, not {groups}")
        object.__setattr__(self, "weight", weight)
        if self.bias is not None:
            object.__setattr__(self, "bias", check_vector("Bias", self.bias, len(weight)))

    @property
    def outputs(self) -> int:
        """Output channels."""
        return len(self.weight)

    @property
    def inputs(self) -> int:
        """Input channels, of all groups together."""
        return self.weight.shape[1] * self.groups

    @property
    def is_depthwise(self) -> bool:
        """Whether every input channel has one output channel of its own, and there is more than one."""
        return self.groups == self.inputs == self.outputs > 1

    def bias_or_zeros(self) -> Tensor:
        """Bias in float64, zeros where there is none."""
        if self.bias is not None:
            return self.bias.double()
        return torch.zeros(self.outputs, dtype=torch.float64, device=self.weight.device)

    def by_input(self) -> Tensor:
        """Weights by input channel, shape (inputs, outputs / groups, kernel elements)."""
        grouped = self.weight.reshape(self.groups, self.outputs // self.groups, self.weight.shape[1], -1)
        return grouped.transpose(1, 2).reshape(self.inputs, self.outputs // self.groups, -1)

    def scale_outputs(self, factor: Tensor) -> "LayerWeights":
        """Layer whose output channels, bias included, are those of this one times `factor` (outputs,)."""
        weight = self.weight.double() * as_double(factor, self.weight.ndim, 0)
        bias = None if self.bias is None else (self.bias.double() * factor.double()).to(self.bias.dtype)
        return LayerWeights(weight.to(self.weight.dtype), bias, self.groups)

    def scale_inputs(self, factor: Tensor) -> "LayerWeights":
        """Layer that gives for x what this one gives for ``factor * x``, `factor` (inputs,)."""
        # In each group, the weight's second axis counts that group's inputs only.
        rows = factor.double().reshape(self.groups, -1).repeat_interleave(self.outputs // self.groups, dim=0)
        weight = self.weight.double() * rows.reshape(*self.weight.shape[:2], *[1] * (self.weight.ndim - 2))
        return LayerWeights(weight.to(self.weight.dtype), self.bias, self.groups)

    def with_bias(self, bias: Tensor) -> "LayerWeights":
        """The same weight with `bias` (outputs,), rounded to the type of the weight."""
        return LayerWeights(self.weight, bias.to(self.weight.dtype), self.groups)


def check_follows(first: LayerWeights, second: LayerWeights) -> None:
    """Raise `ValueError` unless the outputs of `first` can be the inputs of `second`."""
    if first.outputs != second.inputs:
        raise ValueError(f"Second layer must have {first.outputs} inputs, the first's outputs, not {second.inputs}")


def constant_response(layer: LayerWeights, inputs: Tensor) -> Tensor:
    """What `layer` without its bias gives where each input channel is constant, in float64, shape (outputs,).

    Parameters
    ----------
    layer : LayerWeights
        The layer.
    inputs : Tensor, shape (inputs,)
        Value of each input channel. Zero padding is not constant: near a padded border the response is another one.
    """
    responses = layer.by_input().double().sum(dim=2) * inputs.double().unsqueeze(1)  # (inputs, outputs / groups)
    return responses.reshape(layer.groups, -1, layer.outputs // layer.groups).sum(dim=1).flatten()
