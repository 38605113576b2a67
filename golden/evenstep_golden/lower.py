"""Lowering: a trained model to the integer network that every implementation must equal.

Nothing is computed twice: the codes of the weights come from the model, and thresholds from bisection on the model's
own evaluation (`evenstep.spec.fold_monotone`).
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from evenstep.spec import Dense, Network, Thresholds, fold_monotone
from evenstep_golden.layers import QuantLinear
from evenstep_golden.models import QuantHidden, QuantPerceptron

__all__ = ["fold_hidden", "lower"]


def _raw(name: str, linear: QuantLinear, input_bits: int) -> Dense:
    """Layer without its thresholds."""
    weight = linear.weight.detach()
    broken = torch.nonzero(~torch.isfinite(weight).all(dim=1))
    if len(broken):
        raise ValueError(f"Cannot lower {name}: weights of channel {int(broken[0])} must be finite, which they are not")
    return Dense(name, linear.codes().numpy(), linear.encoding, input_bits)


def _check_finite(name: str, what: str, values: Tensor) -> None:
    broken = torch.nonzero(~torch.isfinite(values.detach().reshape(-1)))
    if len(broken):
        raise ValueError(f"Cannot lower {name}: {what} of channel {int(broken[0])} must be finite, which it is not")


def fold_hidden(name: str, layer: QuantHidden, step: Tensor, raw: Dense) -> Thresholds:
    """Thresholds of one hidden layer.

    Parameters
    ----------
    name : str
        What messages call the layer.
    layer : QuantHidden
        In evaluation mode.
    step : Tensor
        Value of an input code step.
    raw : Dense
        The layer's weights: they say how far its sums reach.

    Raises
    ------
    ValueError
        A number in the layer is not finite, or a channel's activation is not monotone; the message names both.
    """
    for what, values in zip(("batch-norm gain", "batch-norm offset"), layer.norm.affine_terms(), strict=True):
        _check_finite(name, what, values)
    activation = layer.activation
    for what in ("start", "intervals", "scale_in", "scale_out"):
        if not torch.isfinite(getattr(activation, what)).all():
            raise ValueError(f"Cannot lower {name}: {what} of its activation must be finite, which it is not")
    _check_finite(name, "scale", layer.linear.scale(step))
    dtype = layer.linear.sum_type(max_code=raw.max_activation)

    @torch.no_grad()
    def codes(sums: np.ndarray) -> np.ndarray:
        return layer.codes(torch.from_numpy(np.ascontiguousarray(sums)).to(dtype), step).numpy()

    low, high = raw.sum_ranges()
    try:
        return fold_monotone(codes, bits=activation.bits, low=low, high=high)
    except ValueError as error:
        raise ValueError(f"Cannot lower {name}: {error}") from error


def lower(model: QuantPerceptron, *, name: str = "network", labels: tuple[str, ...] = ()) -> Network:
    """Integer network that gives the same integers as `model` at every layer boundary, on every input.

    Parameters
    ----------
    model : QuantPerceptron
        In evaluation mode.
    name, labels
        Stored in the network, for people.

    Raises
    ------
    ValueError
        Something cannot be lowered; the message names layer, channel and reason.
    """
    if model.training:
        raise ValueError("Model must be in evaluation mode to be lowered: call eval() first")
    layers: list[Dense] = []
    for number, (layer, step, bits) in enumerate(model.layers(), 1):
        raw = _raw(f"layer{number}", layer.linear, bits)
        layers.append(dataclasses.replace(raw, thresholds=fold_hidden(raw.name, layer, step, raw)))
    last = _raw(f"layer{len(layers) + 1}", model.last, model.act_bits)
    if model.last.granularity != "tensor":
        raise ValueError(
            f"Cannot lower {last.name}: channels with scales of their own cannot be compared as integers; "
            "its weights must have granularity 'tensor'"
        )
    if not model.last.scale(model.layers()[-1][0].activation.step) > 0:
        raise ValueError(f"Cannot lower {last.name}: scale of its sums must be positive for the largest to win")
    return Network((*layers, last), labels, name)
