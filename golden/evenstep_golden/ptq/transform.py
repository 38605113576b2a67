"""Steps of the pipeline that change a float model and keep its function: folding, equalization, bias absorption.

The mathematics is in `fold`, `equalize` and `absorb`; here it meets the layers of a model, found by `graph`.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from evenstep_golden.layers import BatchNorm, QuantConv2d, ReLU, ReLU6, WeightedModule
from evenstep_golden.models.base import Classifier
from evenstep_golden.models.structure import add_bias, remove_module
from evenstep_golden.ptq import fold
from evenstep_golden.ptq.absorb import absorb, absorbable_bias
from evenstep_golden.ptq.equalize import equalize_chain, scaled_clip
from evenstep_golden.ptq.graph import Graph, Link, function_of, is_padded
from evenstep_golden.ptq.weights import LayerWeights

__all__ = [
    "History",
    "absorb_biases",
    "equalize_layers",
    "fold_norms",
    "layer_weights",
    "norm_moments",
    "store_weights",
]


@dataclass
class History:
    """What the steps have done to the values inside a model.

    Attributes
    ----------
    moments : dict of str to (Tensor, Tensor)
        Mean and standard deviation of each channel behind a node, known from a folded batch norm.
    scales, shifts : dict of str to Tensor
        ``original = value * scale + shift`` for the channels of each layer that was changed.
    """

    moments: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    scales: dict[str, Tensor] = field(default_factory=dict)
    shifts: dict[str, Tensor] = field(default_factory=dict)

    def rescale(self, layer: str, scale: Tensor) -> None:
        """The outputs of `layer` were divided by `scale`."""
        self.scales[layer] = self.scales.get(layer, torch.ones_like(scale)) * scale
        if layer in self.moments:
            mean, deviation = self.moments[layer]
            self.moments[layer] = mean / scale, deviation / scale

    def shift(self, layer: str, amount: Tensor) -> None:
        """`amount` was taken from the outputs of `layer`."""
        scale = self.scales.get(layer, torch.ones_like(amount))
        self.shifts[layer] = self.shifts.get(layer, torch.zeros_like(amount)) + amount * scale
        mean, deviation = self.moments[layer]
        self.moments[layer] = mean - amount, deviation

    def original(self, layer: str, values: Tensor) -> Tensor:
        """Outputs of `layer`, shape (positions, channels, ...), in the units that they had at first."""
        shape = (-1, *[1] * (values.ndim - 2))
        for table, join in ((self.scales, torch.mul), (self.shifts, torch.add)):
            if layer in table:
                values = join(values, table[layer].to(values.dtype).reshape(shape))
        return values


def layer_weights(layer: WeightedModule, channels: int | None = None) -> LayerWeights:
    """Weights of `layer` for the pure steps.

    Parameters
    ----------
    layer : WeightedModule
        The layer.
    channels : int, optional
        Channels that it takes, where flattening has made several inputs of each: the inputs of one channel then count
        as a kernel.
    """
    groups = layer.groups if isinstance(layer, QuantConv2d) else 1
    weight = layer.weight.detach()
    if channels is not None and weight.shape[1] * groups != channels:
        weight = weight.reshape(len(weight), channels, -1)
    return LayerWeights(weight, None if layer.bias is None else layer.bias.detach(), groups)


@torch.no_grad()
def store_weights(layer: WeightedModule, weights: LayerWeights) -> None:
    """Put what the pure steps made into `layer`."""
    layer.weight.copy_(weights.weight.reshape_as(layer.weight))
    if weights.bias is not None:
        add_bias(layer).copy_(weights.bias)


def _norm(module: BatchNorm) -> fold.BatchNorm:
    return fold.BatchNorm(
        module.weight.detach(), module.bias.detach(), module.running_mean, module.running_var, module.eps
    )


def norm_moments(module: BatchNorm) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel behind a batch norm: beta and ``|gamma|``, less where eps counts.

    A channel that was constant in training is so behind its batch norm, whatever gamma.
    """
    variance = module.running_var.double()
    share = (variance / (variance + module.eps)).sqrt()
    return module.bias.detach().double(), module.weight.detach().double().abs() * share


def _layer(model: Classifier, name: str) -> WeightedModule:
    layer = model.get_submodule(name)
    assert isinstance(layer, WeightedModule)
    return layer


def fold_norms(model: Classifier, graph: Graph, history: History) -> list[tuple[str, str]]:
    """Fold batch norms backward, into the layer in front; then others forward, into a layer without padding behind.

    Returns
    -------
    list of (layer, batch norm)
        What was folded.
    """
    folded = graph.norms_behind(model)
    for name, place in folded:
        layer, module = _layer(model, name), model.get_submodule(place)
        assert isinstance(module, BatchNorm)
        store_weights(layer, fold.fold_backward(layer_weights(layer), _norm(module)))
        history.moments[name] = norm_moments(module)
        remove_module(model, place)
    forward = graph.norms_before(model)
    for place, name in forward:
        layer, module = _layer(model, name), model.get_submodule(place)
        assert isinstance(module, BatchNorm)
        weights = layer_weights(layer, len(module.weight))
        store_weights(layer, fold.fold_forward(weights, _norm(module), zero_padding=False))
        history.moments[place] = module.running_mean.double(), module.running_var.double().sqrt()
        remove_module(model, place)
    return [*folded, *((name, place) for place, name in forward)]


def _clips(model: Classifier, link: Link) -> list[ReLU6]:
    functions = (function_of(model.get_submodule(name)) for name in link.between)
    return [function for function in functions if isinstance(function, ReLU6)]


def equalize_layers(model: Classifier, graph: Graph, history: History) -> list[list[str]]:
    """Equalize all layers that follow each other: one sweep, depthwise layers with both neighbours at once.

    The bounds of ReLU6 move with their channels, so the function stays.

    Returns
    -------
    list of lists of str
        Layers that were equalized together.
    """
    done = []
    for chain in graph.chains(model):
        names = [chain[0].first, *(link.second for link in chain)]
        weights = [layer_weights(_layer(model, names[0]))]
        for name in names[1:]:
            weights.append(layer_weights(_layer(model, name), weights[-1].outputs))
        result = equalize_chain(weights)
        for name, changed in zip(names, result.layers, strict=True):
            store_weights(_layer(model, name), changed)
        for link, scale in zip(chain, result.scales, strict=True):
            history.rescale(link.first, scale)
            for clip in _clips(model, link):
                clip.limit.mul_(scaled_clip(scale, 1.0).to(clip.limit.dtype))
        done.append(names)
    return done


def absorb_biases(model: Classifier, graph: Graph, history: History, *, padded: bool = False) -> dict[str, Tensor]:
    """Move biases that rectifiers hardly ever see the other side of into the layers behind.

    Parameters
    ----------
    model, graph, history
        The model, with batch norms folded: what is absorbed depends on their statistics.
    padded : bool
        Absorb into layers that pad with zeros too, as paper and AIMET do. It changes what they give at the border,
        where padding would have to be the absorbed bias: much, where pictures are small.

    Returns
    -------
    dict of str to Tensor
        What was taken from the outputs of layers, where it was anything.
    """
    absorbed = {}
    for link in graph.links(model):
        first, second = _layer(model, link.first), _layer(model, link.second)
        if link.first not in history.moments or (is_padded(second) and not padded):
            continue
        functions = [function_of(model.get_submodule(name)) for name in link.between]
        rectified = any(isinstance(function, ReLU | ReLU6) for function in functions)
        mean, deviation = history.moments[link.first]
        amount = absorbable_bias(mean, deviation, activation="relu" if rectified else "none")
        clips = _clips(model, link)
        for clip in clips:  # what lies above the bound is constant
            amount = torch.minimum(amount, clip.limit.double())
        if not amount.count_nonzero():
            continue
        weights = layer_weights(first)
        changed = absorb(weights, layer_weights(second, weights.outputs), amount)
        for layer, values in zip((first, second), changed, strict=True):
            store_weights(layer, values)
        for clip in clips:
            clip.limit.sub_(amount.to(clip.limit.dtype))
        history.shift(link.first, amount)
        absorbed[link.first] = amount
    return absorbed
