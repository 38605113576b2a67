"""Sensitivity: how much each layer's precision costs by itself, and precisions chosen by it.

One layer at a time gets a quantizer, set from its weights or from data, while all others stay float; the noise that
this makes in the logits ranks the layers. Noise of single layers about adds up where it is small, which makes the
ranking a guide for mixed precision, not a promise.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evenstep.checks import check_int
from evenstep_golden.data import spread_indices
from evenstep_golden.models.base import Classifier
from evenstep_golden.precision import Method, Precision
from evenstep_golden.ptq import sqnr_db
from evenstep_golden.training import initialize_quantizers

__all__ = ["Sensitivity", "choose_precision", "sweep"]


@dataclass(frozen=True)
class Sensitivity:
    """What one quantizer in one place costs.

    Parameters
    ----------
    layer : str
        Name of a layer with weights, or of an activation.
    kind : str
        ``"weights"`` or ``"activations"``.
    method : Method
        The quantizer.
    sqnr : float
        Signal-to-quantization-noise ratio of the logits, in dB.
    accuracy : float
        Share of the pictures, 0 to 1, of which the class is right.
    numbers : int
        Weights of the layer; 0 for an activation.
    bits : int
        Of what is stored for each; with PWLQ, those of the region too.
    """

    layer: str
    kind: str
    method: Method
    sqnr: float
    accuracy: float
    numbers: int
    bits: int


def _logits(model: Classifier, pixels: np.ndarray) -> Tensor:
    with torch.no_grad():
        return torch.cat([model.values(part) for part in torch.from_numpy(pixels).split(256)])


def sweep(
    model: Classifier, pixels: np.ndarray, labels: np.ndarray, methods: Sequence[tuple[str, Method]]
) -> Iterator[Sensitivity]:
    """Try each method in each place of a float model, one place at a time; the model is float again afterwards.

    Parameters
    ----------
    model : Classifier
        Trained, with floats.
    pixels : array of uint8, shape (positions, channels, height, width)
        Pictures to try it with. Activation quantizers are set from 256 of them, evenly spread.
    labels : array of int, shape (positions,)
        Their classes.
    methods : sequence of (kind, Method)
        ``"weights"`` or ``"activations"``, and a quantizer.

    Raises
    ------
    ValueError
        There are no pictures, or a method cannot be made.
    """
    check_int("Pictures of a sweep", len(pixels), 2)
    places = model.activations().values()
    if any(layer.weight_quantizer for layer in model.weighted().values()) or any(place.quantizer for place in places):
        raise ValueError("Model of a sweep must be float, not quantized")
    model.eval()
    whole = _logits(model, pixels)
    try:
        for kind, method in methods:
            for name in model.weighted() if kind == "weights" else model.activations():
                Precision().replaced(name, kind, method).apply(model)
                initialize_quantizers(model, pixels[spread_indices(len(pixels), 256)])
                logits = _logits(model, pixels)
                right = float((logits.argmax(1).numpy() == labels).mean())
                numbers, bits = 0, method.bits
                if kind == "weights":
                    layer = model.weighted()[name]
                    assert layer.weight_quantizer is not None
                    numbers, bits = layer.weight.numel(), layer.weight_quantizer.stored_bits
                yield Sensitivity(name, kind, method, sqnr_db(whole, logits), right, numbers, bits)
    finally:
        Precision().apply(model)


def choose_precision(results: Sequence[Sensitivity], *, average_bits: float) -> Precision:
    """Weights of mixed precision: the least noise in all, at most `average_bits` a weight.

    Chosen by a price of bits (a Lagrange multiplier): at each price every layer takes the width whose noise and cost
    are least together. Of all prices at which a choice changes, and of one method for all, the best choice within the
    bits counts; what bits are left over go, one layer after the other, where they take away most noise.

    Parameters
    ----------
    results : sequence of Sensitivity
        Of a sweep of weights, with two widths or more.
    average_bits : float
        Stored bits of a weight, on average over all weights.

    Raises
    ------
    ValueError
        There is nothing to choose from, or even the narrowest methods are wider than that.
    """
    choices: dict[str, list[_Option]] = {}
    for one in results:
        if one.kind == "weights":
            option = _Option(one.method, 10 ** (-one.sqnr / 10), one.bits * one.numbers)
            choices.setdefault(one.layer, []).append(option)
    if not 0 < average_bits < math.inf:
        raise ValueError(f"Average bits must be a positive number, not {average_bits}")
    if not choices or min(len(options) for options in choices.values()) < 2:
        raise ValueError("Results to choose from must have two methods or more for each layer's weights")
    budget = average_bits * sum(one.numbers for one in {one.layer: one for one in results}.values())
    chosen = {layer: min(options, key=lambda one: one.cost) for layer, options in choices.items()}
    if _cost(chosen) > budget:
        least = _cost(chosen) / budget * average_bits
        raise ValueError(f"Average bits must be at least the {least:.2f} of the narrowest methods, not {average_bits}")
    # Just below the price at which a layer would change, so that ties are decided for less noise.
    candidates = [
        {
            layer: min(options, key=lambda one: one.noise + price * 0.999999 * one.cost)
            for layer, options in choices.items()
        }
        for price in sorted(_prices(choices))
    ]
    for options in zip(*choices.values(), strict=False):  # the same place in every list: one method for all layers
        candidates.append(dict(zip(choices, options, strict=True)))
    for picked in candidates:
        if _cost(picked) <= budget and _noise(picked) < _noise(chosen):
            chosen = picked
    while True:
        left = budget - _cost(chosen)
        steps = [
            (chosen[layer].noise - option.noise, layer, option)
            for layer, options in choices.items()
            for option in options
            if option.noise < chosen[layer].noise and option.cost - chosen[layer].cost <= left
        ]
        if not steps:
            break
        _, layer, option = max(steps, key=lambda step: step[0])
        chosen[layer] = option
    return Precision(layers=tuple((layer, "weights", option.method) for layer, option in chosen.items()))


@dataclass(frozen=True)
class _Option:
    """One width of one layer: noise in the logits relative to them, and bits of all its weights."""

    method: Method
    noise: float
    cost: int


def _noise(chosen: dict[str, _Option]) -> float:
    return sum(one.noise for one in chosen.values())


def _cost(chosen: dict[str, _Option]) -> int:
    return sum(one.cost for one in chosen.values())


def _prices(choices: dict[str, list[_Option]]) -> set[float]:
    """Noise a bit at which a layer is undecided between two of its widths."""
    return {
        (one.noise - other.noise) / (other.cost - one.cost)
        for options in choices.values()
        for one in options
        for other in options
        if one.cost < other.cost and one.noise > other.noise
    }
