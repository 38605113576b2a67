"""Functions of AdaRound: soft and hard rounding of weights, the loss that decides between up and down, its schedules.

Sources: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (ICML 2020), equations 21 to 25;
"A White Paper on Neural Network Quantization" (2021), section 3.4. With one logit V per weight::

    h(V) = clip(1.2 * sigmoid(V) - 0.1, 0, 1)                                rectified sigmoid
    code = clip(floor(W / step) + h(V) + zero_point, 0, 2**bits - 1)         soft; V >= 0 instead of h(V) when hard
    W~   = step * (code - zero_point)
    loss = mean over batch and positions of sum over channels of (output - target)**2
           + strength * sum(1 - |2 h(V) - 1|**beta)

`beta` falls from 20 to 2 behind a warm-up of a fifth of the iterations, in which the second term is left out: along a
cosine in the authors' library (AIMET), the default, or along a line in BRECQ.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evenstep.checks import check_int
from evenstep_golden.ptq.weights import check_positive, check_tensor

__all__ = [
    "SCHEDULES",
    "check_logits",
    "cosine_beta",
    "hard_codes",
    "hard_quantize",
    "initial_logits",
    "linear_beta",
    "reconstruction_loss",
    "rectified_sigmoid",
    "rounding_regularizer",
    "soft_quantize",
]

#: The sigmoid is stretched to -0.1 ... 1.1 and cut to 0 ... 1, so that its ends are reached with finite logits.
STRETCH_LOW, STRETCH_HIGH = -0.1, 1.1


def rectified_sigmoid(logits: Tensor) -> Tensor:
    """h(V): how far each weight is rounded up, 0 to 1, with gradient."""
    return (torch.sigmoid(logits) * (STRETCH_HIGH - STRETCH_LOW) + STRETCH_LOW).clamp(0, 1)


def _per_channel(name: str, value: Any, weight: Tensor) -> Tensor:
    """`value` (a number, shape () or (1,) for all channels, or (outputs,)) shaped to broadcast over `weight`."""
    tensor = torch.as_tensor(value, device=weight.device).detach()
    if tensor.ndim > 1 or tensor.numel() not in (1, len(weight)):
        raise ValueError(f"{name} must have shape (1,) or ({len(weight)},), not {tuple(tensor.shape)}")
    return tensor.to(weight.dtype).reshape(-1, *[1] * (weight.ndim - 1))


def _units(weight: Tensor, step: float | Tensor) -> Tensor:
    """Weight in units of the step."""
    weight = check_tensor("Weight", weight)
    if weight.ndim == 0:
        raise ValueError("Weight must have shape (outputs, ...), not ()")
    divisor = _per_channel("Step", step, weight)
    if not (torch.isfinite(divisor) & (divisor > 0)).all():
        raise ValueError(f"Step must be positive and finite, not {step!r}")
    units = weight / divisor
    if not torch.isfinite(units).all():
        raise ValueError(f"Step must not be so small that weights divided by it overflow, not {step!r}")
    return units


def initial_logits(weight: Tensor, step: float | Tensor) -> Tensor:
    """Logits with ``h(V) == frac(weight / step)``: soft rounding then starts at the float weight.

    The source's ``-ln(1.2 / (frac + 0.1) - 1)`` in another form, which is exactly 0 for a fraction of one half and
    exactly antisymmetric about it.

    Parameters
    ----------
    weight : Tensor, shape (outputs, ...)
        Float weights.
    step : float, or Tensor of shape (1,) or (outputs,)
        Step of the grid, positive.
    """
    units = _units(weight, step)
    fraction = units - units.floor()
    return 2 * torch.atanh((2 * fraction - 1) / (STRETCH_HIGH - STRETCH_LOW))


def _on_grid(
    rounded: Tensor, step: float | Tensor, bits: int, zero_point: int | Tensor, min_code: int
) -> tuple[Tensor, Tensor]:
    """Codes (floats) and values of weights in units of the step."""
    highest = 2 ** check_int("Weight bits", bits, 1, 8) - 1
    check_int("Smallest code", min_code, 0, highest)
    zero = _per_channel("Zero point", zero_point, rounded)
    codes = (rounded + zero).clamp(min_code, highest)
    return codes, (codes - zero) * _per_channel("Step", step, rounded)


def soft_quantize(
    weight: Tensor,
    step: float | Tensor,
    logits: Tensor,
    *,
    bits: int,
    zero_point: int | Tensor = 0,
    min_code: int = 0,
) -> Tensor:
    """Weights rounded up by h(V), with gradient for the logits.

    Parameters
    ----------
    weight : Tensor, shape (outputs, ...)
        Float weights.
    step : float, or Tensor of shape (1,) or (outputs,)
        Step of the grid, positive.
    logits : Tensor, shape of `weight`
        V, from `initial_logits` or learned.
    bits : int
        Width of a code, 1 to 8.
    zero_point : int, or Tensor of shape (1,) or (outputs,)
        Code of the value 0: ``2**(bits-1)`` for two's complement.
    min_code : int
        Smallest code in use; 1 for symmetric grids, which leave the most negative value out.

    Raises
    ------
    TypeError, ValueError
        A parameter is out of range, of another shape, or not finite.
    """
    units = _units(weight, step)
    check_logits(logits, weight)
    return _on_grid(units.floor() + rectified_sigmoid(logits), step, bits, zero_point, min_code)[1]


def hard_quantize(
    weight: Tensor,
    step: float | Tensor,
    logits: Tensor,
    *,
    bits: int,
    zero_point: int | Tensor = 0,
    min_code: int = 0,
) -> Tensor:
    """Weights rounded up where the logit is not negative, else down; parameters as for `soft_quantize`.

    With initial logits that is rounding to nearest, one half going up, where `torch.round` takes the even neighbour.
    """
    return _hard(weight, step, logits, bits, zero_point, min_code)[1]


def hard_codes(
    weight: Tensor,
    step: float | Tensor,
    logits: Tensor,
    *,
    bits: int,
    zero_point: int | Tensor = 0,
    min_code: int = 0,
) -> Tensor:
    """Codes of `hard_quantize`, int64, `min_code` to 2**bits - 1."""
    return _hard(weight, step, logits, bits, zero_point, min_code)[0].long()


def _hard(
    weight: Tensor, step: float | Tensor, logits: Tensor, bits: int, zero_point: int | Tensor, min_code: int
) -> tuple[Tensor, Tensor]:
    units = _units(weight, step)
    check_logits(logits, weight)
    return _on_grid(units.floor() + (logits.detach() >= 0), step, bits, zero_point, min_code)


def check_logits(logits: Tensor, weight: Tensor) -> None:
    """Raise `TypeError` or `ValueError` unless `logits` are finite floats in the shape of `weight`."""
    check_tensor("Logits", logits)
    if logits.shape != weight.shape:
        raise ValueError(f"Logits must have shape {tuple(weight.shape)}, that of the weight, not {tuple(logits.shape)}")


def rounding_regularizer(logits: Tensor, beta: float, *, strength: float = 0.01) -> Tensor:
    """``strength * sum(1 - |2 h(V) - 1|**beta)``, which is 0 where every weight is decided. Scalar, with gradient."""
    check_positive("Beta", beta)
    return strength * (1 - (2 * rectified_sigmoid(logits) - 1).abs().pow(beta)).sum()


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Squared error, summed over channels, averaged over batch and positions. Scalar, with gradient.

    Parameters
    ----------
    output, target : Tensor, of one shape (batch, channels, ...)
        Outputs of the layer, behind its activation.

    Raises
    ------
    ValueError
        Shapes differ or have no channels.
    """
    if output.ndim < 2 or output.shape != target.shape:
        raise ValueError(
            "Output and target must have one shape (batch, channels, ...), not "
            f"{tuple(output.shape)} and {tuple(target.shape)}"
        )
    return (output - target).square().sum(1).mean()


def _relative(iteration: int, iterations: int, warm_up: float) -> float:
    """Share of the way behind the warm-up, 0 to 1; negative within it."""
    iterations = check_int("Iterations", iterations, 1)
    iteration = check_int("Iteration", iteration, 0, iterations)
    if not 0 <= warm_up < 1:
        raise ValueError(f"Warm-up must be a share from 0 to below 1, not {warm_up!r}")
    begin = warm_up * iterations
    return (iteration - begin) / (iterations - begin)


def cosine_beta(
    iteration: int, iterations: int, *, start: float = 20.0, end: float = 2.0, warm_up: float = 0.2
) -> float:
    """Exponent of the regularizer, from `start` to `end` along half a cosine (AIMET, which counts iterations from 0).

    Within the warm-up, where the regularizer is off, the cosine goes on backwards, as AIMET's does.

    Parameters
    ----------
    iteration, iterations : int
        Which one of how many, 0 to `iterations`.
    start, end : float
        Value at the end of the warm-up, and value at `iterations`.
    warm_up : float
        Share of the iterations before beta begins to change, 0 to below 1.
    """
    return end + (start - end) * 0.5 * (1 + math.cos(_relative(iteration, iterations, warm_up) * math.pi))


def linear_beta(
    iteration: int, iterations: int, *, start: float = 20.0, end: float = 2.0, warm_up: float = 0.2
) -> float:
    """Exponent of the regularizer along a line (BRECQ, which counts from 1), `start` within the warm-up.

    Parameters as for `cosine_beta`.
    """
    return end + (start - end) * (1 - max(0.0, _relative(iteration, iterations, warm_up)))


#: Schedules of beta by name, and the number of the first iteration in the code that they come from.
SCHEDULES: dict[str, tuple[Callable[..., float], int]] = {"cosine": (cosine_beta, 0), "linear": (linear_beta, 1)}
