"""Layers that train on values and evaluate on integers."""

from evenstep_golden.layers.activation import Activation, ReLU, ReLU6, RPReLU
from evenstep_golden.layers.conv import QuantConv2d
from evenstep_golden.layers.linear import QuantLinear
from evenstep_golden.layers.norm import BatchNorm
from evenstep_golden.layers.pool import Flatten, GlobalAveragePool, MaxPool2d
from evenstep_golden.layers.weighted import WeightedModule
from evenstep_golden.layers.wide import Add, Wide

__all__ = [
    "Activation",
    "Add",
    "BatchNorm",
    "Flatten",
    "GlobalAveragePool",
    "MaxPool2d",
    "QuantConv2d",
    "QuantLinear",
    "RPReLU",
    "ReLU",
    "ReLU6",
    "WeightedModule",
    "Wide",
]
