"""How a post-training pipeline changed a model's modules, as plain names: a checkpoint rebuilds the model from them.

Folding a batch norm removes a module and gives a layer a bias; bias correction and absorption give biases too. All else
that the pipeline changes is parameters and buffers, which a state dict holds.
"""

from torch import nn

from evenstep_golden.layers import WeightedModule
from evenstep_golden.models.base import Classifier

__all__ = ["add_bias", "remove_module", "structure_of"]


def add_bias(layer: WeightedModule) -> nn.Parameter:
    """Bias of `layer`, new and all zeros where it had none."""
    if layer.bias is None:
        layer.bias = nn.Parameter(layer.weight.detach().new_zeros(len(layer.weight)))
    return layer.bias


def remove_module(model: Classifier, name: str) -> None:
    """Put `torch.nn.Identity` where the module called `name` is."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Identity())


def structure_of(model: Classifier, fresh: Classifier) -> dict[str, str]:
    """What must be done to `fresh`, so that it has the modules and parameters of `model`.

    Parameters
    ----------
    model : Classifier
        As a post-training pipeline left it.
    fresh : Classifier
        As `build_model` makes it.

    Returns
    -------
    dict of str to str
        As `evenstep_golden.checkpoint.apply_structure` takes it: ``"identity"`` for modules that are gone, ``"bias"``
        for layers that have a bias and had none.
    """
    modules = dict(model.named_modules())
    without = {name for name, layer in fresh.weighted().items() if layer.bias is None}
    structure = {}
    for name, module in fresh.named_modules():
        now = modules.get(name)
        if isinstance(now, nn.Identity) and not isinstance(module, nn.Identity):
            structure[name] = "identity"
        elif isinstance(now, WeightedModule) and now.bias is not None and name in without:
            structure[name] = "bias"
    return structure
