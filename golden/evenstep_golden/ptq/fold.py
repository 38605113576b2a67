"""Batch-norm folding: a normalization with fixed statistics becomes part of the layer beside it.

Source: Nagel et al., "A White Paper on Neural Network Quantization" (2021), section 2.3.1 (normalization behind the
layer, "backward"), and AIMET (normalization in front of it, "forward"). In evaluation a batch norm is
``y = scale * x + offset``, ``scale = gamma / sqrt(variance + eps)``, ``offset = beta - mean * scale``, per channel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evenstep_golden.ptq.weights import LayerWeights, check_positive, check_vector, constant_response

__all__ = ["BatchNorm", "fold_backward", "fold_forward"]


@dataclass(frozen=True)
class BatchNorm:
    """Batch norm with fixed statistics; its outputs have about mean `beta` and standard deviation ``|gamma|``.

    Parameters
    ----------
    gamma, beta : Tensor, shape (channels,)
        Learned factor, of either sign, and offset.
    mean, variance : Tensor, shape (channels,)
        Running statistics.
    eps : float
        What is added to the variance, not negative.

    Raises
    ------
    TypeError, ValueError
        A vector has another length than `gamma`, holds NaN or an infinity, or ``variance + eps`` is not positive.
    """

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor
    eps: float = 1e-5

    def __post_init__(self) -> None:
        channels = len(check_vector("Gamma", self.gamma))
        for name in ("gamma", "beta", "mean", "variance"):
            object.__setattr__(self, name, check_vector(name.capitalize(), getattr(self, name), channels))
        if self.eps != 0:
            check_positive("Eps", self.eps)
        if (self.variance < 0).any():
            raise ValueError(f"Variance must not be negative, not {self.variance.min().item()}")
        if (self.variance.double() + self.eps <= 0).any():
            raise ValueError("Variance must be positive where eps is 0, not 0.0")

    @classmethod
    def from_module(cls, module: nn.BatchNorm1d | nn.BatchNorm2d) -> "BatchNorm":
        """Values of a torch module; a module without learned parameters has gamma 1 and beta 0.

        Raises
        ------
        ValueError
            The module keeps no running statistics.
        """
        if module.running_mean is None or module.running_var is None:
            raise ValueError("Batch norm must keep running statistics, not those of each batch")
        mean, variance = module.running_mean.clone(), module.running_var.clone()
        gamma = torch.ones_like(mean) if module.weight is None else module.weight.detach().clone()
        beta = torch.zeros_like(mean) if module.bias is None else module.bias.detach().clone()
        return cls(gamma, beta, mean, variance, module.eps)

    @property
    def scale(self) -> Tensor:
        """Factor of the input, in float64, shape (channels,)."""
        return self.gamma.double() / (self.variance.double() + self.eps).sqrt()

    @property
    def offset(self) -> Tensor:
        """What is added to the scaled input, in float64, shape (channels,)."""
        return self.beta.double() - self.mean.double() * self.scale


def fold_backward(layer: LayerWeights, norm: BatchNorm) -> LayerWeights:
    """One layer for `layer` followed by `norm`; exact whatever the padding, and always with a bias.

    ``W' = W * scale``, ``b' = beta + (b - mean) * scale`` per output channel.

    Raises
    ------
    ValueError
        `norm` has another number of channels than the layer has outputs.
    """
    if len(norm.gamma) != layer.outputs:
        raise ValueError(f"Batch norm must have {layer.outputs} channels, the layer's outputs, not {len(norm.gamma)}")
    bias = norm.beta.double() + (layer.bias_or_zeros() - norm.mean.double()) * norm.scale
    return layer.scale_outputs(norm.scale).with_bias(bias)


def fold_forward(layer: LayerWeights, norm: BatchNorm, *, zero_padding: bool) -> LayerWeights:
    """One layer for `norm` followed by `layer`, always with a bias.

    ``W' = W * scale`` per input channel, ``b' = b + sum W * offset`` over inputs and kernel.

    Parameters
    ----------
    layer : LayerWeights
        The layer behind the normalization.
    norm : BatchNorm
        The normalization.
    zero_padding : bool
        Whether the layer pads its input with zeros. Those zeros stand behind the normalization, and would stand in
        front of it after folding, where they mean another value. So folding is refused, unless every offset is zero.

    Raises
    ------
    ValueError
        `norm` has another number of channels than the layer has inputs, or the layer pads and an offset is not zero.
    """
    if len(norm.gamma) != layer.inputs:
        raise ValueError(f"Batch norm must have {layer.inputs} channels, the layer's inputs, not {len(norm.gamma)}")
    if zero_padding and norm.offset.count_nonzero():
        raise ValueError(
            "Batch norm in front of a layer with zero padding must have offsets of zero to be folded, not "
            f"{norm.offset[norm.offset != 0][0].item()}"
        )
    bias = layer.bias_or_zeros() + constant_response(layer, norm.offset)
    return layer.scale_inputs(norm.scale).with_bias(bias)
