"""Bias correction: take the mean error that quantized weights cause out of the bias.

Sources: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section
4.2 and appendix C; "A White Paper on Neural Network Quantization" (2021), section 3.3. Both ways find the shift of each
output channel's mean, and `correct_bias` subtracts it::

    empirical:  mean over batch and positions of (quantized output - float output)
    analytic:   (sum over the kernel of (W^q - W)) E[x]

For the analytic way, x is the clipped output of a batch norm, taken as normal with mean beta and deviation |gamma|. The
paper and AIMET insert gamma itself, which is wrong where it is negative (-0.083 instead of 1.083 for beta 1, gamma -1).
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from evenstep.checks import check_choice
from evenstep_golden.ptq.weights import LayerWeights, check_tensor, check_vector, constant_response

__all__ = [
    "ACTIVATIONS",
    "analytic_shift",
    "correct_bias",
    "empirical_shift",
    "expected_activation",
    "expected_clipped",
]

#: Activations with a closed form of their mean, and the bounds that they clip to.
ACTIVATIONS: dict[str, tuple[float | None, float | None]] = {"none": (None, None), "relu": (0.0, None), "relu6": (0, 6)}


def _bound(name: str, value: float | Tensor | None, like: Tensor, absent: float) -> Tensor:
    if value is None:
        return torch.full_like(like, absent, dtype=torch.float64)
    if isinstance(value, Tensor) and value.ndim:
        return check_vector(name, value, len(like)).double()
    bound = torch.as_tensor(value, dtype=torch.float64, device=like.device)
    return check_tensor(name, bound).expand(len(like))


def _density(t: Tensor) -> Tensor:
    return torch.exp(-t.square() / 2) / math.sqrt(2 * math.pi)


def expected_clipped(
    beta: Tensor, gamma: Tensor, *, low: float | Tensor | None = None, high: float | Tensor | None = None
) -> Tensor:
    """Mean of ``clip(x, low, high)`` for x normal with mean `beta` and deviation ``|gamma|``.

    Parameters
    ----------
    beta, gamma : Tensor, shape (channels,)
        Offset and factor of the batch norm in front of the clip; gamma of either sign, or zero for a constant.
    low, high : float or Tensor of shape (channels,), optional
        Bounds, None where there is none. `equalize.scaled_clip` gives an upper one per channel.

    Returns
    -------
    Tensor of the type of `beta`, shape (channels,)

    Raises
    ------
    TypeError, ValueError
        Vectors are of different lengths, not finite, or a low bound is above a high one.
    """
    beta = check_vector("Beta", beta)
    gamma = check_vector("Gamma", gamma, len(beta))
    lower = _bound("Low bound", low, beta, -math.inf)
    upper = _bound("High bound", high, beta, math.inf)
    if (lower > upper).any():
        raise ValueError(f"Low bound must not be above the high one, not {low!r} and {high!r}")
    mean, spread = beta.double(), gamma.double().abs()
    first, last = (lower - mean) / spread, (upper - mean) / spread
    below, above = torch.special.ndtr(first), torch.special.ndtr(-last)
    # The mass between, from the side where it is not a difference of two numbers next to 1.
    between = torch.where(first > 0, torch.special.ndtr(-first) - above, torch.special.ndtr(last) - below)
    result = mean * between + spread * (_density(first) - _density(last))
    # No mass lies beyond an infinite bound, and infinity times zero is no number.
    result = result + torch.where(below > 0, lower * below, 0.0) + torch.where(above > 0, upper * above, 0.0)
    # What is left of a far tail may have either sign. Without deviation all of the above divides by zero.
    return torch.where(spread > 0, result, mean).clamp(lower, upper).to(beta.dtype)


def expected_activation(beta: Tensor, gamma: Tensor, activation: str) -> Tensor:
    """Mean of an activation's output, one of `ACTIVATIONS`; otherwise as `expected_clipped`."""
    check_choice("Activation", activation, tuple(ACTIVATIONS))
    low, high = ACTIVATIONS[activation]
    return expected_clipped(beta, gamma, low=low, high=high)


def analytic_shift(layer: LayerWeights, quantized: Tensor, expected: Tensor) -> Tensor:
    """Shift of the output's mean that quantized weights cause on inputs of a known mean.

    Parameters
    ----------
    layer : LayerWeights
        The float layer, groups and depthwise included.
    quantized : Tensor, shape of the layer's weight
        Quantized weights, as values.
    expected : Tensor, shape (inputs,)
        Mean of each input channel, from `expected_activation`. Zeros of padding are not part of it.

    Returns
    -------
    Tensor of the type of the weight, shape (outputs,)

    Raises
    ------
    TypeError, ValueError
        A tensor has the wrong shape or is not finite.
    """
    quantized = check_tensor("Quantized weight", quantized)
    if quantized.shape != layer.weight.shape:
        raise ValueError(f"Quantized weight must have shape {tuple(layer.weight.shape)}, not {tuple(quantized.shape)}")
    expected = check_vector("Expected input", expected, layer.inputs)
    error = LayerWeights(quantized.double() - layer.weight.double(), groups=layer.groups)
    return constant_response(error, expected).to(layer.weight.dtype)


def empirical_shift(outputs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Shift of the output's mean, measured: mean of quantized minus float output over batch and positions.

    For a whole network, go layer by layer, each quantized output computed behind the layers corrected already.

    Parameters
    ----------
    outputs : iterable of (float output, quantized output)
        Batches, each of shape (batch, channels, ...), in front of the activation. Batches may differ in size; every
        value counts the same.

    Returns
    -------
    Tensor of float64, shape (channels,)

    Raises
    ------
    TypeError, ValueError
        There is no batch, shapes do not agree, or a value is not finite.
    """
    total, count = None, 0
    for reference, quantized in outputs:
        reference = check_tensor("Float output", reference)
        quantized = check_tensor("Quantized output", quantized)
        if reference.ndim < 2 or quantized.shape != reference.shape:
            raise ValueError(
                "Outputs must have one shape (batch, channels, ...), not "
                f"{tuple(reference.shape)} and {tuple(quantized.shape)}"
            )
        channels = reference.shape[1]
        error = (quantized.double() - reference.double()).transpose(0, 1).reshape(channels, -1)
        if total is not None and len(total) != channels:
            raise ValueError(f"Outputs must have {len(total)} channels in every batch, not {channels}")
        total = error.sum(1) if total is None else total + error.sum(1)
        count += error.shape[1]
    if total is None:
        raise ValueError("Outputs must be at least one batch, not none")
    return total / count


def correct_bias(bias: Tensor | None, shift: Tensor) -> Tensor:
    """Bias without the `shift` (outputs,), in the type of the bias (of the shift where there is none)."""
    shift = check_vector("Shift", shift)
    if bias is None:
        return -shift
    return (check_vector("Bias", bias, len(shift)).double() - shift.double()).to(bias.dtype)
