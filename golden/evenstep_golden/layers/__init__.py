"""Layers that evaluate on integer codes."""

from evenstep_golden.layers.linear import QuantLinear
from evenstep_golden.layers.norm import BatchNorm

__all__ = ["BatchNorm", "QuantLinear"]
