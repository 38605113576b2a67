"""High-bias absorption: move the part of a bias that ReLU never sees the other side of into the next layer.

Sources: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section
4.1.3; "A White Paper on Neural Network Quantization" (2021), section 3.2. Equalization can make biases large, and with
them the range of the activations. With ``ReLU(x) - c == ReLU(x - c)`` for ``x >= c >= 0``::

    c = max(0, beta - 3 * |gamma|)        below it lie 0.13 % of a normal distribution
    b1 - c,  b2 + (sum over the kernel of W2) c

`beta` and `gamma` are mean and deviation of the first layer's outputs: of its folded batch norm, divided by the factors
of the equalization. The paper writes gamma without the bars, which would absorb far too much where it is negative;
bars as in AIMET. The function stays as it is only where no value lies below c and the second layer does not pad with
zeros: a zero of the border stands for c afterwards.
"""

import torch
from torch import Tensor

from evenstep.checks import check_choice
from evenstep_golden.ptq.weights import LayerWeights, check_follows, check_positive, check_vector, constant_response

__all__ = ["ABSORBING", "absorb", "absorbable_bias"]

#: Activations that a bias can be absorbed through.
ABSORBING = ("relu", "none")


def absorbable_bias(
    beta: Tensor,
    gamma: Tensor,
    *,
    activation: str = "relu",
    scale: Tensor | None = None,
    deviations: float = 3.0,
) -> Tensor:
    """How much of each channel's bias the next layer can absorb, in the type of `beta`, shape (channels,).

    Parameters
    ----------
    beta, gamma : Tensor, shape (channels,)
        Mean and deviation (of either sign) of the values in front of the activation, before equalization.
    activation : str
        ``"relu"`` (also a clipped one, whose upper bound then falls by the result as well), or ``"none"``: without an
        activation nothing can be clipped, so the whole mean is absorbed, as in AIMET.
    scale : Tensor, shape (channels,), optional
        Factors of the equalization, which divide `beta` and `gamma`. None: not equalized.
    deviations : float
        How many deviations below the mean still must not be clipped, positive; 3 in the paper.

    Raises
    ------
    TypeError, ValueError
        Vectors are of different lengths, not finite, or a factor is not positive.
    """
    check_choice("Activation", activation, ABSORBING)
    deviations = check_positive("Deviations", deviations)
    beta = check_vector("Beta", beta)
    gamma = check_vector("Gamma", gamma, len(beta))
    mean, spread = beta.double(), gamma.double().abs()
    if scale is not None:
        scale = check_vector("Scale", scale, len(beta))
        if (scale <= 0).any():
            raise ValueError(f"Scale must be positive, not {scale.min().item()}")
        mean, spread = mean / scale.double(), spread / scale.double()
    absorbed = mean if activation == "none" else (mean - deviations * spread).clamp(min=0)
    return absorbed.to(beta.dtype)


def absorb(first: LayerWeights, second: LayerWeights, amount: Tensor) -> tuple[LayerWeights, LayerWeights]:
    """Both layers with `amount` taken from the bias of the first and given to the second.

    Parameters
    ----------
    first, second : LayerWeights
        Layers, the outputs of the first being the inputs of the second. Either gets a bias if it had none.
    amount : Tensor, shape (channels,)
        Result of `absorbable_bias`.

    Raises
    ------
    ValueError
        Channels do not fit, or the amount is not finite.
    """
    check_follows(first, second)
    amount = check_vector("Absorbed bias", amount, first.outputs)
    if not torch.count_nonzero(amount):
        return first, second
    return (
        first.with_bias(first.bias_or_zeros() - amount.double()),
        second.with_bias(second.bias_or_zeros() + constant_response(second, amount)),
    )
