"""How the layers of a model follow each other, and evaluating them one by one.

Found by symbolic tracing (`torch.fx`) of `Classifier.body`: layers are nodes, and whatever code calls them says where
values go. So the pipeline knows no model by name.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from evenstep_golden.layers import (
    Activation,
    BatchNorm,
    Flatten,
    GlobalAveragePool,
    MaxPool2d,
    QuantConv2d,
    ReLU,
    ReLU6,
    WeightedModule,
)
from evenstep_golden.models.base import INPUT_BITS, Classifier

__all__ = ["Graph", "Link", "Node", "function_of", "is_padded", "pictures"]

_INPUT = ""
#: What a channel that is scaled by a positive number passes still scaled: a link goes on behind these.
_PASSED = (Flatten, GlobalAveragePool, MaxPool2d, nn.Identity)


class _Tracer(fx.Tracer):
    """Traces `body`; what is in `evenstep_golden.layers` is a node, not looked into."""

    traced_func_name = "body"

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Identity) or type(m).__module__.startswith(f"{_LAYERS}.")


_LAYERS = ReLU.__module__.rpartition(".")[0]


@dataclass(frozen=True)
class Node:
    """One module in the flow of values.

    Parameters
    ----------
    name : str
        Name of the module in the model.
    inputs : tuple of str
        Nodes that it takes values from, in the order of its arguments; ``""`` for the pictures.
    """

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Link:
    """Two layers of weights, the outputs of the first being the inputs of the second and of nothing else.

    Parameters
    ----------
    first, second : str
        Names of the layers.
    between : tuple of str
        Modules between them: rectifiers, activations, pools, flattening.
    """

    first: str
    second: str
    between: tuple[str, ...]


def function_of(module: nn.Module) -> nn.Module | None:
    """What a node does to single values: the module, or that of an `Activation`; None for no rectifier."""
    function = module.function if isinstance(module, Activation) else module
    return None if isinstance(function, (*_PASSED, WeightedModule)) else function


def is_padded(layer: nn.Module) -> bool:
    """Whether a layer pads its inputs with zeros."""
    return isinstance(layer, QuantConv2d) and any(layer.padding)


def pictures(model: Classifier, pixels: Tensor) -> Tensor:
    """Values 0 to 1 of codes `pixels` (positions, ...), in the type of the model's parameters and its input's shape."""
    if pixels.ndim < 2 or math.prod(pixels.shape[1:]) != math.prod(model.input_shape):
        raise ValueError(f"Pixels must have shape (positions, *{model.input_shape}), not {tuple(pixels.shape)}")
    return pixels.reshape(-1, *model.input_shape).to(model.log_gain.dtype) * (1 / (2**INPUT_BITS - 1))


class Graph:
    """Flow of values through a model; the modules themselves are looked up when needed, so they may be replaced.

    Parameters
    ----------
    model : Classifier
        Any model that is called module by module.

    Attributes
    ----------
    nodes : dict of str to Node
        In the order of evaluation.
    end : str
        The node that gives the logits.

    Raises
    ------
    ValueError
        The model computes something outside its modules, or calls a module twice.
    """

    def __init__(self, model: Classifier) -> None:
        self.nodes: dict[str, Node] = {}
        self.end = _INPUT
        for node in _Tracer().trace(model).nodes:
            inputs = tuple(str(source.target) if source.op == "call_module" else _INPUT for source in node.args)
            match node.op:
                case "placeholder":
                    pass
                case "call_module":
                    name = str(node.target)
                    if name in self.nodes:
                        raise ValueError(f"Module {name} must be called once in a pass, not again")
                    self.nodes[name] = Node(name, inputs)
                case "output":
                    (self.end,) = inputs
                case _:
                    raise ValueError(f"Model must compute with modules only, not with {node.target!r}")
        self.users = {name: tuple(n.name for n in self.nodes.values() if name in n.inputs) for name in self.nodes}

    def layers(self, model: nn.Module) -> dict[str, WeightedModule]:
        """Layers with weights, in the order of evaluation."""
        found = ((name, model.get_submodule(name)) for name in self.nodes)
        return {name: module for name, module in found if isinstance(module, WeightedModule)}

    def only_user(self, name: str) -> str | None:
        """The one node that takes the values of `name`, if there is one only."""
        users = self.users[name]
        return users[0] if len(users) == 1 and name != self.end else None

    def norms_behind(self, model: nn.Module) -> list[tuple[str, str]]:
        """Pairs of a layer and the batch norm that alone takes its values."""
        pairs = []
        for name in self.layers(model):
            behind = self.only_user(name)
            if behind is not None and isinstance(model.get_submodule(behind), BatchNorm):
                pairs.append((name, behind))
        return pairs

    def norms_before(self, model: nn.Module) -> list[tuple[str, str]]:
        """Pairs of a batch norm and the layer without padding that alone takes its values, perhaps flattened."""
        pairs = []
        for name in self.nodes:
            if not isinstance(model.get_submodule(name), BatchNorm):
                continue
            behind = self.only_user(name)
            while behind is not None and isinstance(model.get_submodule(behind), Flatten | nn.Identity):
                behind = self.only_user(behind)
            layer = None if behind is None else model.get_submodule(behind)
            if isinstance(layer, WeightedModule) and not is_padded(layer):
                pairs.append((name, str(behind)))
        return pairs

    def links(self, model: nn.Module) -> list[Link]:
        """All links, in the order of their first layers.

        Between are rectifiers that a positive factor passes (ReLU; ReLU6, whose bound takes it), pools and flattening.
        Joins end a link, and so do wide numbers and batch norms that were not folded.
        """
        links = []
        for name in self.layers(model):
            between: list[str] = []
            behind = self.only_user(name)
            while behind is not None:
                module = model.get_submodule(behind)
                if isinstance(module, WeightedModule):
                    links.append(Link(name, behind, tuple(between)))
                    break
                if not isinstance(module, (Activation, ReLU, ReLU6, *_PASSED)):
                    break
                if not isinstance(function_of(module), ReLU | ReLU6 | None):
                    break
                between.append(behind)
                behind = self.only_user(behind)
        return links

    def chains(self, model: nn.Module) -> list[list[Link]]:
        """Links joined where the second layer of one is the first of the next."""
        chains: list[list[Link]] = []
        for link in self.links(model):
            for chain in chains:
                if chain[-1].second == link.first:
                    chain.append(link)
                    break
            else:
                chains.append([link])
        return chains

    def rectifier_behind(self, model: nn.Module, name: str) -> nn.Module | None:
        """Rectifier that takes the values of layer `name` at once; None for none, or where something is between."""
        behind = self.only_user(name)
        while behind is not None and isinstance(model.get_submodule(behind), nn.Identity):
            behind = self.only_user(behind)
        if behind is None or not isinstance(model.get_submodule(behind), Activation | ReLU | ReLU6):
            return None
        return function_of(model.get_submodule(behind))

    @torch.no_grad()
    def evaluate(
        self,
        model: nn.Module,
        batches: Sequence[Tensor],
        *,
        visit: Callable[[str, nn.Module, list[tuple[Tensor, ...]]], None] | None = None,
    ) -> Iterator[tuple[str, list[Tensor]]]:
        """Values behind every node, node by node for all batches, so that a node can change before it is evaluated.

        Memory holds what later nodes still need, of all batches.

        Parameters
        ----------
        model : Module
            Has the modules.
        batches : list of Tensor
            Pictures, from `pictures`.
        visit : callable of (name, module, inputs of each batch), optional
            Called before each node is evaluated.
        """
        values: dict[str, list[Tensor]] = {_INPUT: list(batches)}
        left = {name: len(users) for name, users in self.users.items()}
        for name, node in self.nodes.items():
            module = model.get_submodule(name)
            inputs = list(zip(*(values[source] for source in node.inputs), strict=True))
            if visit is not None:
                visit(name, module, inputs)
            values[name] = [module(*arguments) for arguments in inputs]
            del inputs
            yield name, values[name]
            for source in set(node.inputs) - {_INPUT}:
                left[source] -= 1
                if not left[source]:
                    del values[source]
