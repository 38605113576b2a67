"""How a training begins: parameters of another model, and quantizers set from them and from data."""

import numpy as np
import torch
from torch import Tensor, nn

from evenstep_golden.models.base import Classifier
from evenstep_golden.precision import Precision
from evenstep_golden.quantizers.base import ActivationQuantizer, WeightQuantizer

__all__ = ["copy_parameters", "initialize_quantizers"]

_KINDS = (("weight_quantizer", "weights"), ("quantizer", "activations"))


def _quantizers(model: Classifier) -> dict[str, nn.Module]:
    kinds = ActivationQuantizer | WeightQuantizer
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def _split(model: Classifier) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """State of the model's layers, and that of its quantizers."""
    inside = tuple(f"{name}." for name in _quantizers(model))
    state = model.state_dict()
    own = {name: value for name, value in state.items() if not name.startswith(inside)}
    return own, {name: value for name, value in state.items() if name not in own}


def copy_parameters(
    source: Classifier, source_precision: Precision | None, target: Classifier, target_precision: Precision | None
) -> set[str]:
    """Give `target` the parameters of `source`, the same network at another precision.

    All weights, batch norms and what else is no quantizer's must match. Of a quantizer they come along where both
    models have the same method there: name, bits and options.

    Parameters
    ----------
    source, target : Classifier
    source_precision, target_precision : Precision or None
        What was applied to each; None where that is a float model.

    Returns
    -------
    set of str
        Names of the quantizers whose parameters came along. All others are new, see `initialize_quantizers`.

    Raises
    ------
    ValueError
        They are not the same network; the message names the first parameter that differs.
    """
    (given, given_quantizers), (wanted, _) = _split(source), _split(target)
    for name, value in wanted.items():
        if name not in given:
            raise ValueError(f"Parameter {name} must be there, and is not")
        if given[name].shape != value.shape:
            raise ValueError(f"Parameter {name} must have shape {tuple(value.shape)}, not {tuple(given[name].shape)}")
    for name in given:
        if name not in wanted:
            raise ValueError(f"Parameter {name} must not be there: the new model has none of that name")
    target.load_state_dict(given, strict=False)
    before, after = source_precision or Precision(), target_precision or Precision()
    available, same = _quantizers(source), set()
    for name in _quantizers(target):
        layer, _, attribute = name.rpartition(".")
        kind = dict(_KINDS)[attribute]
        if name in available and before.method(layer, kind) == after.method(layer, kind):
            same.add(name)
            inside = {key: value for key, value in given_quantizers.items() if key.startswith(f"{name}.")}
            target.load_state_dict(inside, strict=False)
    return same


def initialize_quantizers(
    model: Classifier, pixels: np.ndarray, *, keep: set[str] | frozenset[str] = frozenset()
) -> None:
    """Set the quantizers of `model` from its weights and from what a first batch makes of them.

    Each activation quantizer sees the values that the ones before it, quantized, lead to, with the statistics of the
    batch, as in the first step of a training. All other state of the model stays as it is.

    Parameters
    ----------
    model : Classifier
    pixels : array of uint8, shape (positions, ...)
        The batch, at least two pictures.
    keep : set of str
        Names of quantizers that are set already.

    Raises
    ------
    ValueError
        Values that a quantizer is to be set from are not finite; the message names it.
    """
    quantizers = {name: module for name, module in _quantizers(model).items() if name not in keep}
    for name, layer in model.weighted().items():
        if layer.weight_quantizer in quantizers.values():
            assert layer.weight_quantizer is not None
            _initialize(f"{name}.weight_quantizer", layer.weight_quantizer, layer.weight.detach())

    def set_first(name: str, quantizer: ActivationQuantizer) -> None:
        def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            _initialize(name, quantizer, arguments[0])

        handles.append(quantizer.register_forward_pre_hook(hook))

    all_inside = {part for quantizer in _quantizers(model).values() for part in quantizer.modules()}
    outside = [module for module in model.modules() if module not in all_inside]
    buffers = [buffer for module in outside for buffer in module.buffers(recurse=False)]
    before = [buffer.clone() for buffer in buffers]
    was_training = model.training
    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for name, quantizer in quantizers.items():
            if isinstance(quantizer, ActivationQuantizer):
                set_first(name, quantizer)
        with torch.no_grad():
            model.train().values(torch.tensor(pixels, device=model.log_gain.device))
    finally:
        for handle in handles:
            handle.remove()
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
        model.train(was_training)


def _initialize(name: str, quantizer: ActivationQuantizer | WeightQuantizer, values: Tensor) -> None:
    try:
        quantizer.initialize(values)
    except ValueError as error:
        raise ValueError(f"Cannot initialize {name}: {error}") from error
