"""Groups of parameters that an optimizer treats alike, made from what modules are, not from what they are called.

Source: Liu et al., "Nonuniform-to-Uniform Quantization" (CVPR 2022), section 4.1: all learnable parameters of the
quantizers take a tenth of the learning rate. The authors' code picks them by name, and so leaves out ``quan3.a`` and
``downsample.0.a`` of its own networks; here every quantizer names its own.
"""

from typing import Any

from torch import nn

from evenstep_golden.models.base import Classifier
from evenstep_golden.quantizers.base import ActivationQuantizer, WeightQuantizer
from evenstep_golden.training.recipe import Recipe

__all__ = ["parameter_groups"]


def parameter_groups(model: Classifier, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups of all parameters of `model`, each parameter in one.

    Returns
    -------
    list of dict
        For torch's optimizers: ``params``, pairs of name and parameter; ``weight_decay``; and ``share``, what the
        learning rate is to be multiplied with. First weights of layers, which alone decay; then what trains at the
        full rate too: batch norms, biases, RPReLUs and those scales of quantizers whose recipe asks for it (LSQ's);
        last what trains slowly. Empty groups are left out.
    """
    quantizers = [module for module in model.modules() if isinstance(module, ActivationQuantizer | WeightQuantizer)]
    slow = {parameter for quantizer in quantizers for parameter in quantizer.slow_parameters()} | {model.log_gain}
    weights: set[nn.Parameter] = {layer.weight for layer in model.weighted().values()}
    groups: dict[str, list[tuple[str, nn.Parameter]]] = {"weights": [], "others": [], "slow": []}
    for name, parameter in model.named_parameters():
        groups["slow" if parameter in slow else "weights" if parameter in weights else "others"].append(
            (name, parameter)
        )
    return [
        {
            "params": members,
            "weight_decay": recipe.weight_decay if kind == "weights" else 0.0,
            "share": recipe.slow_share if kind == "slow" else 1.0,
        }
        for kind, members in groups.items()
        if members
    ]
