"""Lowering: a trained model to the integer network that every implementation must equal.

Nothing is computed twice: the model evaluates once on integers and reports each layer as the specification has it.
Codes of weights come from its quantizers, thresholds from bisection on its own evaluation (`evenstep.spec.
fold_monotone`), multipliers of wide numbers from the rescaling that it evaluates with.
"""

import math

import torch

from evenstep.spec import Dense, Network
from evenstep_golden.models.base import Classifier

__all__ = ["lower"]


def lower(model: Classifier, *, name: str = "network", labels: tuple[str, ...] = ()) -> Network:
    """Integer network that gives the same integers as `model` at every layer boundary, on every input.

    Parameters
    ----------
    model : Classifier
        In evaluation mode, all of it quantized.
    name, labels
        Stored in the network, for people.

    Raises
    ------
    ValueError
        Something cannot be lowered; the message names layer, channel and reason.
    """
    if model.training:
        raise ValueError("Model must be in evaluation mode to be lowered: call eval() first")
    blank = torch.zeros((1, *model.input_shape), dtype=torch.uint8)
    layers = tuple(model.integers(blank, record=True).trace.layers)
    # A perceptron takes vectors; how its pictures were shaped is nothing to it.
    shape = (math.prod(model.input_shape),) if isinstance(layers[0], Dense) else model.input_shape
    return Network(layers, labels, name, shape)
