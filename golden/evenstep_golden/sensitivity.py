"""Sensitivity: how much each layer's precision costs by itself, and precisions chosen by it.

One layer at a time gets a quantizer, set from its weights or from data, while all others stay float; the noise that
this makes in the logits ranks the layers. Noise of single layers about adds up where it is small, which makes the
ranking a guide for mixed precision, not a promise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evenstep.checks import check_int
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
    """

    layer: str
    kind: str
    method: Method
    sqnr: float
    accuracy: float
    numbers: int


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
        Pictures to try it with. Activation quantizers are set from the first 256.
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
    if any(layer.weight_quantizer for layer in model.weighted().values()):
        raise ValueError("Model of a sweep must be float, not quantized")
    model.eval()
    whole = _logits(model, pixels)
    try:
        for kind, method in methods:
            for name in model.weighted() if kind == "weights" else model.activations():
                Precision().replaced(name, kind, method).apply(model)
                initialize_quantizers(model, pixels[:256])
                logits = _logits(model, pixels)
                right = float((logits.argmax(1).numpy() == labels).mean())
                numbers = model.weighted()[name].weight.numel() if kind == "weights" else 0
                yield Sensitivity(name, kind, method, sqnr_db(whole, logits), right, numbers)
    finally:
        Precision().apply(model)


def choose_precision(results: Sequence[Sensitivity], *, average_bits: float) -> Precision:
    """Weights of mixed precision: most bits where they are missed most, at most `average_bits` a weight.

    Starts with the narrowest method everywhere, and widens, one layer after the other, the layer that takes away most
    noise for the bits that it adds, as long as they are there.

    Parameters
    ----------
    results : sequence of Sensitivity
        Of a sweep of weights, with two widths or more.
    average_bits : float
        Bits of a weight, on average over all weights.

    Raises
    ------
    ValueError
        There is nothing to choose from, or even the narrowest methods are wider than that.
    """
    choices: dict[str, list[Sensitivity]] = {}
    for result in results:
        if result.kind == "weights":
            choices.setdefault(result.layer, []).append(result)
    if not choices or min(len(options) for options in choices.values()) < 2:
        raise ValueError("Results to choose from must have two methods or more for each layer's weights")
    for options in choices.values():
        options.sort(key=lambda one: one.method.bits)
    chosen = dict.fromkeys(choices, 0)
    budget = average_bits * sum(options[0].numbers for options in choices.values())

    def bits(layer: str, index: int) -> int:
        return choices[layer][index].numbers * choices[layer][index].method.bits

    used = sum(bits(layer, 0) for layer in choices)
    if used > budget:
        raise ValueError(f"Average bits must be at least those of the narrowest methods, not {average_bits}")
    while True:
        steps = []
        for layer, index in chosen.items():
            if index + 1 < len(choices[layer]):
                cost = bits(layer, index + 1) - bits(layer, index)
                noise = [10 ** (-one.sqnr / 10) for one in choices[layer][index : index + 2]]
                if used + cost <= budget and noise[0] > noise[1]:
                    steps.append(((noise[0] - noise[1]) / max(cost, 1), layer, cost))
        if not steps:
            break
        _, layer, cost = max(steps)
        chosen[layer] += 1
        used += cost
    layers = tuple((layer, "weights", choices[layer][index].method) for layer, index in chosen.items())
    return Precision(layers=layers)
