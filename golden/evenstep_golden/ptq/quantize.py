"""Steps of the pipeline that quantize a model: ranges of weights, their rounding, biases, ranges of activations.

Layers are taken in the order of evaluation. Each one meets the inputs that the quantized layers before it give, and is
compared with the float model's layer, so that it makes up for their errors too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from evenstep_golden.calibration import create_calibrator
from evenstep_golden.layers import Activation, WeightedModule, Wide
from evenstep_golden.models.base import Classifier
from evenstep_golden.models.structure import add_bias
from evenstep_golden.precision import Method, Precision
from evenstep_golden.ptq.adaround import optimize_rounding
from evenstep_golden.ptq.correct import analytic_shift, correct_bias, empirical_shift
from evenstep_golden.ptq.expect import Expected
from evenstep_golden.ptq.graph import Graph
from evenstep_golden.ptq.levels import LevelRounding
from evenstep_golden.ptq.transform import layer_weights
from evenstep_golden.quantizers import ActivationQuantizer, UniformActivation

__all__ = [
    "calibrate_activations",
    "correct_analytically",
    "correct_empirically",
    "put_activation_quantizers",
    "put_weight_quantizers",
    "round_adaptively",
    "set_expected_ranges",
]

Progress = Callable[[str, int, int], None]


def _with_range(method: Method | None, name: str) -> Method | None:
    """`method` with the range method `name`, if it is uniform and does not name one."""
    if method is None or method.name != "uniform" or "method" in dict(method.options):
        return method
    return replace(method, options=(*method.options, ("method", name)))


def put_weight_quantizers(model: Classifier, precision: Precision, weight_range: str) -> None:
    """Give layers their weight quantizers, with ranges set by `weight_range` where they are uniform.

    Activations stay float.

    Raises
    ------
    ValueError
        As `Precision.apply`; or a quantizer refuses weights, and the message names the layer.
    """
    layers = tuple(
        (pattern, kind, _with_range(method, weight_range) if kind == "weights" else method)
        for pattern, kind, method in precision.layers
    )
    replace(precision, weights=_with_range(precision.weights, weight_range), layers=layers).apply(model)
    for place in model.activations().values():
        place.quantizer = None
    for name, layer in model.weighted().items():
        if layer.weight_quantizer is not None:
            try:
                layer.weight_quantizer.initialize(layer.weight.detach())
                layer.weight_quantizer.encode(layer.weight.detach())
            except ValueError as error:
                raise ValueError(f"Cannot quantize the weights of {name}: {error}") from error


def put_activation_quantizers(model: Classifier, precision: Precision) -> dict[str, ActivationQuantizer]:
    """New activation quantizers, by the place where they belong; the model has none of them yet."""
    weights = {name: layer.weight_quantizer for name, layer in model.weighted().items()}
    precision.apply(model)
    for name, layer in model.weighted().items():
        layer.weight_quantizer = weights[name]
    made = {}
    for name, place in model.activations().items():
        if place.quantizer is not None:
            made[name] = place.quantizer.to(model.log_gain.dtype)
            place.quantizer = None
    return made


def _compare_layers(
    model: Classifier,
    reference: Classifier,
    graph: Graph,
    batches: Sequence[Tensor],
    visit: Callable[[str, WeightedModule, list[Tensor], list[Tensor]], None],
) -> None:
    """Call `visit` with each quantized layer, its inputs, and the outputs of the same layer of `reference`."""
    targets = graph.evaluate(reference, batches)

    def meet(name: str, module: nn.Module, inputs: list[tuple[Tensor, ...]]) -> None:
        same, wanted = next(targets)
        assert same == name
        if isinstance(module, WeightedModule) and module.weight_quantizer is not None:
            visit(name, module, [one for (one,) in inputs], wanted)

    for _ in graph.evaluate(model, batches, visit=meet):
        pass


@torch.no_grad()
def _take_from_bias(layer: WeightedModule, shift: Tensor) -> None:
    bias = add_bias(layer)
    bias.copy_(correct_bias(bias.detach(), shift))


def correct_empirically(
    model: Classifier, reference: Classifier, graph: Graph, batches: Sequence[Tensor], progress: Progress
) -> None:
    """Correct biases by the mean error that layers make on `batches`, each behind the layers corrected already."""
    total = len(graph.layers(model))
    done = 0

    def visit(name: str, layer: WeightedModule, inputs: list[Tensor], targets: list[Tensor]) -> None:
        nonlocal done
        shift = empirical_shift((target, layer(x)) for target, x in zip(targets, inputs, strict=True))
        _take_from_bias(layer, shift)
        done += 1
        progress("bias correction", done, total)

    _compare_layers(model, reference, graph, batches, visit)


@torch.no_grad()
def correct_analytically(
    model: Classifier, reference: Classifier, graph: Graph, expected: Mapping[str, Expected]
) -> list[str]:
    """Correct biases by the mean inputs that batch norms let expect, and what weights differ from `reference` by.

    Returns
    -------
    list of str
        Quantized layers that stay as they are, since the mean of their inputs is not known: the first layer, and what
        comes behind maxima or joins with a rectifier.
    """
    unknown = []
    floats = graph.layers(reference)
    for name, layer in graph.layers(model).items():
        if layer.weight_quantizer is None:
            continue
        mean = expected[graph.nodes[name].inputs[0]].mean
        if mean is None:
            unknown.append(name)
            continue
        weights = layer_weights(floats[name], len(mean))
        quantized = layer.quantized_weight().detach().reshape_as(weights.weight)
        _take_from_bias(layer, analytic_shift(weights, quantized, mean))
    return unknown


def round_adaptively(
    model: Classifier,
    reference: Classifier,
    graph: Graph,
    batches: Sequence[Tensor],
    *,
    iterations: int,
    seed: int,
    progress: Progress,
) -> dict[str, float]:
    """Learn for every weight whether it is rounded up or down, layer by layer; weights become the chosen levels.

    Returns
    -------
    dict of str to float
        Share of the weights, 0 to 1, that are not rounded to the nearest level, by layer.

    Raises
    ------
    ValueError
        Levels of a layer move with its weights; the message names it.
    """
    quantized = [name for name, layer in graph.layers(model).items() if layer.weight_quantizer is not None]
    moved: dict[str, float] = {}

    def visit(name: str, layer: WeightedModule, inputs: list[Tensor], targets: list[Tensor]) -> None:
        assert layer.weight_quantizer is not None
        weight = layer.weight.detach()
        try:
            rounding = LevelRounding(layer.weight_quantizer, weight)
        except ValueError as error:
            raise ValueError(f"Cannot round {name}: {error}") from error
        function = graph.rectifier_behind(model, name)

        def forward(x: Tensor, values: Tensor) -> Tensor:
            result = layer.products(x, values, padding=0.0)
            if layer.bias is not None:
                result = result + layer.bias.detach().reshape(-1, *[1] * (result.ndim - 2))
            return result if function is None else function(result)

        wanted = torch.cat(targets if function is None else [function(target) for target in targets])
        steps = optimize_rounding(
            rounding, weight, torch.cat(inputs), wanted, forward, seed=seed + len(moved), iterations=iterations
        )
        for step in steps:
            progress("AdaRound", len(moved) * iterations + step.iteration, len(quantized) * iterations)
        chosen = rounding.integers()
        moved[name] = float((chosen != layer.weight_quantizer.encode(weight).integers()).double().mean())
        with torch.no_grad():
            layer.weight.copy_(rounding.weights())
        encoded = layer.weight_quantizer.encode(layer.weight.detach())
        assert torch.equal(encoded.integers(), chosen), f"{name} must encode the levels that were chosen"

    _compare_layers(model, reference, graph, batches, visit)
    return moved


def calibrate_activations(
    model: Classifier,
    graph: Graph,
    quantizers: Mapping[str, ActivationQuantizer],
    batches: Sequence[Tensor],
    *,
    method: str,
    progress: Progress,
) -> None:
    """Give activations their quantizers, with ranges from what comes behind the quantized layers before them.

    Uniform quantizers get the range that the calibrator called `method` finds; others start as their own method says.
    Wide numbers learn how large they get on the way.
    """
    wide = [module for module in model.modules() if isinstance(module, Wide)]
    done = 0

    def visit(name: str, module: nn.Module, inputs: list[tuple[Tensor, ...]]) -> None:
        nonlocal done
        if not isinstance(module, Activation) or name not in quantizers:
            return
        quantizer = quantizers[name]
        values = [module.function(x) for (x,) in inputs]
        if isinstance(quantizer, UniformActivation):
            calibrator = create_calibrator(method, bits=quantizer.bits, symmetric=quantizer.symmetric)
            try:
                for batch in values:
                    calibrator.observe(batch)
                quantizer.set_range(*calibrator.range())
            except ValueError as error:
                raise ValueError(f"Cannot quantize {name}: {error}") from error
        else:
            quantizer.initialize(torch.cat(values))
        module.quantizer = quantizer
        done += 1
        progress("activation ranges", done, len(quantizers))

    for module in wide:
        module.forget()
        module.observing = True
    try:
        for _ in graph.evaluate(model, batches, visit=visit):
            pass
    finally:
        for module in wide:
            module.observing = False


@torch.no_grad()
def set_expected_ranges(
    model: Classifier,
    graph: Graph,
    quantizers: Mapping[str, ActivationQuantizer],
    expected: Mapping[str, Expected],
) -> None:
    """Give activations their quantizers, with ranges that batch norms let expect, and wide numbers their size.

    Raises
    ------
    ValueError
        A quantizer needs data, or the range of its values is not known; the message names the layer.
    """
    for name, node in graph.nodes.items():
        module = model.get_submodule(name)
        quantizer = quantizers.get(name)
        if quantizer is None and not isinstance(module, Wide):
            continue
        ranges = [expected[source] for source in ((name,) if quantizer is not None else (name, *node.inputs))]
        low = [found.low.min() for found in ranges if found.low is not None]
        high = [found.high.max() for found in ranges if found.high is not None]
        if len(low) < len(ranges) or len(high) < len(ranges):
            raise ValueError(f"Range of {name} must be calibrated with pictures: no batch norm lets expect one")
        if isinstance(module, Wide):
            module.largest.copy_(torch.stack([*low, *high]).abs().max())
        elif isinstance(quantizer, UniformActivation) and isinstance(module, Activation):
            quantizer.set_range(low[0], high[0])
            module.quantizer = quantizer
        else:
            raise ValueError(f"Activations of {name} must be uniform to take a range without pictures")
