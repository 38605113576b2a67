"""The integer specification: no torch, no Amaranth. Hardware and golden model both derive from these classes."""

from evenstep.spec.concat import Concat
from evenstep.spec.conv import Conv
from evenstep.spec.encoding import ENCODINGS, Encoding, signed_bits, unsigned_bits
from evenstep.spec.geometry import COUNTERS, THRESHOLD_STYLES, WEIGHT_ENCODINGS, Geometry
from evenstep.spec.lane import PIECEWISE_STYLES, LaneFormat
from evenstep.spec.layer import Dense, Weighted
from evenstep.spec.network import INPUT, Layer, Network
from evenstep.spec.piecewise import PiecewiseEncoding, doubling_constants
from evenstep.spec.pool import MaxPool, SumPool
from evenstep.spec.presets import PRESETS
from evenstep.spec.tensor import TensorType
from evenstep.spec.thresholds import Thresholds, fold_monotone
from evenstep.spec.wide import Add, Line, MultiThreshold, Rescale

__all__ = [
    "COUNTERS",
    "ENCODINGS",
    "INPUT",
    "PIECEWISE_STYLES",
    "PRESETS",
    "THRESHOLD_STYLES",
    "WEIGHT_ENCODINGS",
    "Add",
    "Concat",
    "Conv",
    "Dense",
    "Encoding",
    "Geometry",
    "LaneFormat",
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
    "doubling_constants",
    "fold_monotone",
    "signed_bits",
    "unsigned_bits",
]
