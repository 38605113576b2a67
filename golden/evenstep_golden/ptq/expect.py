"""What values to expect behind each layer, without data: from the statistics of batch norms.

Sources: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section
4.2.1 and appendix C (means); "A White Paper on Neural Network Quantization" (2021), section 3.1 (ranges, ``beta +- 6
gamma``). The outputs of a batch norm are taken as normal, with mean beta and deviation ``|gamma|`` in each channel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from evenstep_golden.layers import Activation, Add, BatchNorm, MaxPool2d, ReLU, ReLU6, RPReLU, WeightedModule
from evenstep_golden.layers.pool import GlobalAveragePool
from evenstep_golden.models.base import Classifier
from evenstep_golden.ptq.correct import expected_clipped
from evenstep_golden.ptq.graph import Graph, function_of
from evenstep_golden.ptq.transform import layer_weights, norm_moments
from evenstep_golden.ptq.weights import constant_response

__all__ = ["Expected", "expected_values"]

#: Deviations from the mean that a range reaches.
ALPHA = 6.0


@dataclass(frozen=True)
class Expected:
    """What is known of each channel of a tensor: float64, shape (channels,); None where it is not known.

    Parameters
    ----------
    mean, deviation : Tensor or None
        A deviation is that of a normal distribution.
    low, high : Tensor or None
        Range.
    """

    mean: Tensor | None = None
    deviation: Tensor | None = None
    low: Tensor | None = None
    high: Tensor | None = None

    @classmethod
    def normal(cls, mean: Tensor, deviation: Tensor) -> "Expected":
        """Of a normal distribution."""
        return cls(mean, deviation, mean - ALPHA * deviation, mean + ALPHA * deviation)


def expected_values(
    model: Classifier, graph: Graph, moments: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, Expected]:
    """What to expect behind every node, by its name; ``""`` for the pictures. Quantizers are not looked at.

    Parameters
    ----------
    model, graph
        The model.
    moments : mapping of str to (Tensor, Tensor)
        `History.moments`; batch norms that were not folded speak for themselves.
    """
    channels = model.input_shape[0]
    ends = torch.zeros(channels, dtype=torch.float64), torch.ones(channels, dtype=torch.float64)
    found = {"": Expected(low=ends[0], high=ends[1])}
    for name, node in graph.nodes.items():
        module = model.get_submodule(name)
        if name in moments:
            found[name] = Expected.normal(*moments[name])
        elif isinstance(module, BatchNorm):
            found[name] = Expected.normal(*norm_moments(module))
        elif isinstance(module, Add):
            found[name] = _sum(*(found[source] for source in node.inputs))
        else:
            found[name] = _passed(module, found[node.inputs[0]])
    return found


def _sum(first: Expected, second: Expected) -> Expected:
    def plus(one: Tensor | None, other: Tensor | None) -> Tensor | None:
        return None if one is None or other is None else one + other

    # Branches share a source, so their deviations do not simply add.
    return Expected(plus(first.mean, second.mean), None, plus(first.low, second.low), plus(first.high, second.high))


def _passed(module: nn.Module, x: Expected) -> Expected:
    if isinstance(module, WeightedModule):
        if x.mean is None:
            return Expected()
        weights = layer_weights(module, len(x.mean))
        return Expected(constant_response(weights, x.mean) + weights.bias_or_zeros())
    if isinstance(module, MaxPool2d):
        return replace(x, mean=None, deviation=None)
    if isinstance(module, GlobalAveragePool):
        return replace(x, deviation=None)  # how much smaller depends on how alike neighbours are
    if isinstance(module, Activation | ReLU | ReLU6 | RPReLU):
        function = function_of(module)
        if isinstance(function, ReLU | ReLU6):
            return _clipped(x, function.limit if isinstance(function, ReLU6) else None)
        if isinstance(function, RPReLU):
            return _leaked(x, function)
    return x


def _clipped(x: Expected, high: Tensor | None) -> Expected:
    mean = None
    if x.mean is not None and x.deviation is not None:
        mean = expected_clipped(x.mean, x.deviation, low=0.0, high=high)
    ends = [None if end is None else end.clamp(min=0) for end in (x.low, x.high)]
    if high is not None:
        ends = [None if end is None else torch.minimum(end, high.double()) for end in ends]
    return Expected(mean, None, *ends)


def _leaked(x: Expected, function: RPReLU) -> Expected:
    shift, slope, after = (p.detach().double() for p in (function.shift_in, function.slope, function.shift_out))
    mean = None
    if x.mean is not None and x.deviation is not None:
        above, below = (
            expected_clipped(x.mean + shift, x.deviation, **bound) for bound in ({"low": 0.0}, {"high": 0.0})
        )
        mean = above + slope * below + after
    if x.low is None or x.high is None:
        return Expected(mean)
    ends = [end + shift for end in (x.low, x.high)]
    knee = torch.zeros(()).double().clamp(*ends)
    results = torch.stack([torch.where(point < 0, point * slope, point) + after for point in (*ends, knee)])
    return Expected(mean, None, results.amin(0), results.amax(0))
