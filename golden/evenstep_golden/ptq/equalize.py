"""Cross-layer equalization: move range from channels of one layer to the layer behind it.

Sources: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), sections
4.1.1 and 4.1.2; "A White Paper on Neural Network Quantization" (2021), section 3.2. With ranges ``r1`` of the output
channels of a layer and ``r2`` of the input channels of the next::

    s = r1 / sqrt(r1 * r2)                              a pair of layers
    W1 / s, b1 / s, W2 * s                              so both channels get the range sqrt(r1 * r2)
    s12 = r1 / cbrt(r1 * r2 * r3), s23 = cbrt(r1 * r2 * r3) / r3        a depthwise layer between two others

It does not change the function where ``f(s * x) = s * f(x)`` for ``s > 0`` between the layers: nothing, ReLU, PReLU.
ReLU6 and other clips do not scale. The papers put ReLU in their place; `scaled_clip` is exact instead.

Choices: the paper repeats until nothing changes, AIMET sweeps the network once, which is the default here;
`tolerance` repeats. Ranges are the largest magnitude (paper, AIMET) or the extent of the values (authors' DFQ code).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evenstep.checks import check_choice, check_int
from evenstep_golden.ptq.weights import LayerWeights, check_follows, check_positive, check_vector

__all__ = [
    "DEPTHWISE",
    "MAX_SCALE",
    "RANGES",
    "Equalization",
    "equalize_chain",
    "input_ranges",
    "output_ranges",
    "pair_scales",
    "rescale_pair",
    "scaled_clip",
    "triple_scales",
]

#: ``"magnitude"``: max |W|, for symmetric weights. ``"extent"``: max W - min W, for affine weights.
RANGES = ("magnitude", "extent")
#: ``"triple"``: a depthwise layer and its neighbours at once (AIMET). ``"pair"``: as any other layer (DFQ).
DEPTHWISE = ("triple", "pair")
#: Largest factor and inverse of the smallest one, as in the authors' code. An almost dead channel would otherwise put
#: enormous values into the bias of its layer.
MAX_SCALE = 1e8


def _ranges(rows: Tensor, kind: str) -> Tensor:
    check_choice("Range", kind, RANGES)
    rows = rows.flatten(1).double()
    return rows.abs().amax(1) if kind == "magnitude" else rows.amax(1) - rows.amin(1)


def output_ranges(layer: LayerWeights, *, ranges: str = "magnitude") -> Tensor:
    """Range of the weights of each output channel, float64, shape (outputs,)."""
    return _ranges(layer.weight, ranges)


def input_ranges(layer: LayerWeights, *, ranges: str = "magnitude") -> Tensor:
    """Range of the weights of each input channel, float64, shape (inputs,)."""
    return _ranges(layer.by_input(), ranges)


def _usable(scale: Tensor, dead: Tensor) -> Tensor:
    return torch.where(dead, 1.0, scale.clamp(1 / MAX_SCALE, MAX_SCALE))


def pair_scales(first: LayerWeights, second: LayerWeights, *, ranges: str = "magnitude") -> Tensor:
    """Factors that equalize the channels between two layers.

    Parameters
    ----------
    first, second : LayerWeights
        Layers, the outputs of the first being the inputs of the second. The second may have groups.
    ranges : str
        How the range of a channel is measured, one of `RANGES`.

    Returns
    -------
    Tensor of float64, shape (channels,)
        What the first layer is divided by and the second multiplied with. 1 for a channel whose weights have range
        zero in either layer: there is nothing to share.
    """
    check_follows(first, second)
    r1, r2 = output_ranges(first, ranges=ranges), input_ranges(second, ranges=ranges)
    # Roots first: a product of ranges can overflow or underflow.
    return _usable(r1.sqrt() / r2.sqrt(), (r1 == 0) | (r2 == 0))


def triple_scales(
    first: LayerWeights, depthwise: LayerWeights, last: LayerWeights, *, ranges: str = "magnitude"
) -> tuple[Tensor, Tensor]:
    """Factors that equalize three layers whose middle one is depthwise, so that all three share one range a channel.

    Returns
    -------
    s12, s23 : Tensor of float64, shape (channels,)
        Factors between the first two and the last two layers, as those of `pair_scales`. Both are 1 for a channel
        that is dead in any layer.

    Raises
    ------
    ValueError
        The middle layer is not depthwise, or channels do not fit.
    """
    if not depthwise.is_depthwise:
        raise ValueError(
            f"Middle layer must be depthwise, not {depthwise.inputs} inputs and {depthwise.outputs} outputs in "
            f"{depthwise.groups} groups"
        )
    check_follows(first, depthwise)
    check_follows(depthwise, last)
    r1, r2 = output_ranges(first, ranges=ranges), output_ranges(depthwise, ranges=ranges)
    r3 = input_ranges(last, ranges=ranges)
    dead = (r1 == 0) | (r2 == 0) | (r3 == 0)
    common = (r1.pow(1 / 3) * r2.pow(1 / 3)) * r3.pow(1 / 3)
    return _usable(r1 / common, dead), _usable(common / r3, dead)


def rescale_pair(first: LayerWeights, second: LayerWeights, scale: Tensor) -> tuple[LayerWeights, LayerWeights]:
    """The two layers with the first divided by `scale` (channels,) and the second multiplied with it.

    Raises
    ------
    ValueError
        Channels do not fit, or a factor is not positive.
    """
    check_follows(first, second)
    scale = check_vector("Scale", scale, first.outputs)
    if (scale <= 0).any():
        raise ValueError(f"Scale must be positive, not {scale.min().item()}")
    return first.scale_outputs(1 / scale.double()), second.scale_inputs(scale)


def scaled_clip(scale: Tensor, upper: float = 6.0) -> Tensor:
    """Upper bound of a clipped ReLU in each channel after equalization, ``upper / scale``, shape (channels,).

    ``clip(x / s, 0, upper / s) == clip(x, 0, upper) / s``, so the function stays as it is. The white paper and DFQ
    replace ReLU6 by ReLU instead, which changes it where values are clipped. A bound per channel costs nothing in
    hardware, where it only makes thresholds of that channel unreachable.
    """
    scale = check_vector("Scale", scale)
    if (scale <= 0).any():
        raise ValueError(f"Scale must be positive, not {scale.min().item()}")
    return check_positive("Upper bound", upper) / scale


@dataclass(frozen=True)
class Equalization:
    """Result of `equalize_chain`.

    Parameters
    ----------
    layers : tuple of LayerWeights
        The equalized layers.
    scales : tuple of Tensor of float64, shape (channels,)
        Total factor between each layer and the next: the activations, their means (beta) and deviations (gamma)
        between the two are those of before, divided by it.
    sweeps : int
        Times that the chain was walked.
    change : float
        What the last sweep changed: sum over the layers of the mean change of their weights.
    """

    layers: tuple[LayerWeights, ...]
    scales: tuple[Tensor, ...]
    sweeps: int
    change: float


def _links(layers: Sequence[LayerWeights], depthwise: str) -> Iterator[tuple[int, bool]]:
    """First layer of each group to equalize, and whether it is a triple."""
    index = 0
    while index < len(layers) - 1:
        triple = depthwise == "triple" and index + 2 < len(layers) and layers[index + 1].is_depthwise
        yield index, triple
        index += 2 if triple else 1


def equalize_chain(
    layers: Sequence[LayerWeights],
    *,
    ranges: str = "magnitude",
    depthwise: str = "triple",
    tolerance: float | None = None,
    max_sweeps: int = 100,
) -> Equalization:
    """Equalize layers that follow each other, each output used by the next layer only.

    Parameters
    ----------
    layers : sequence of LayerWeights
        At least two layers in network order, already free of batch norms, with nothing but ReLU, PReLU or a clip that
        is rescaled by `scaled_clip` between them.
    ranges : str
        How the range of a channel is measured, one of `RANGES`.
    depthwise : str
        How a depthwise layer between two others is treated, one of `DEPTHWISE`.
    tolerance : float, optional
        Repeat until a sweep changes the weights by less, in units of weights (see `Equalization.change`); the authors'
        code takes 2e-7. One sweep if not given, as in AIMET.
    max_sweeps : int
        Sweeps at most, for weights so large that rounding alone exceeds the tolerance.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range, or channels of neighbours do not fit.
    """
    check_choice("Range", ranges, RANGES)
    check_choice("Depthwise treatment", depthwise, DEPTHWISE)
    limit = check_int("Sweeps", max_sweeps, 1)
    goal = None if tolerance is None else check_positive("Tolerance", tolerance)
    if len(layers) < 2:
        raise ValueError(f"Layers to equalize must be at least two, not {len(layers)}")
    current = list(layers)
    for first, second in itertools.pairwise(current):
        check_follows(first, second)
    scales = [torch.ones(layer.outputs, dtype=torch.float64, device=layer.weight.device) for layer in current[:-1]]

    sweeps, change = 0, float("inf")
    while sweeps < (1 if goal is None else limit) and (goal is None or change >= goal):
        before = list(current)
        for index, triple in _links(current, depthwise):
            if triple:
                found = triple_scales(current[index], current[index + 1], current[index + 2], ranges=ranges)
            else:
                found = (pair_scales(current[index], current[index + 1], ranges=ranges),)
            for place, scale in enumerate(found, index):
                current[place], current[place + 1] = rescale_pair(current[place], current[place + 1], scale)
                scales[place] = scales[place] * scale
        sweeps += 1
        change = sum(
            (new.weight.double() - old.weight.double()).abs().mean().item()
            for new, old in zip(current, before, strict=True)
        )
    return Equalization(tuple(current), tuple(scales), sweeps, change)
