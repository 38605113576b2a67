"""The integer specification: no torch, no Amaranth. Hardware and golden model both derive from these classes."""

from evenstep.spec.conv import Conv
from evenstep.spec.encoding import ENCODINGS, Encoding, signed_bits, unsigned_bits
from evenstep.spec.geometry import COUNTERS, PRESETS, THRESHOLD_STYLES, WEIGHT_ENCODINGS, Geometry
from evenstep.spec.layer import Dense, Weighted
from evenstep.spec.network import INPUT, Layer, Network
from evenstep.spec.piecewise import PiecewiseEncoding
from evenstep.spec.pool import MaxPool, SumPool
from evenstep.spec.tensor import TensorType
from evenstep.spec.thresholds import Thresholds, fold_monotone
from evenstep.spec.wide import Add, Line, MultiThreshold, Rescale

__all__ = [
    "COUNTERS",
    "ENCODINGS",
    "INPUT",
    "PRESETS",
    "THRESHOLD_STYLES",
    "WEIGHT_ENCODINGS",
    "Add",
    "Conv",
    "Dense",
    "Encoding",
    "Geometry",
    "Layer",
    "Line",
    "MaxPool",
    "MultiThreshold",
    "Network",
    "PiecewiseEncoding",
    "Rescale",
    "SumPool",
    "TensorType",
    "Thresholds",
    "Weighted",
    "fold_monotone",
    "signed_bits",
    "unsigned_bits",
]
