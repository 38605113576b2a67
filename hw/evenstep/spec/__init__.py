"""The integer specification: no torch, no Amaranth. Hardware and golden model both derive from these classes."""

from evenstep.spec.encoding import ENCODINGS, Encoding, signed_bits, unsigned_bits
from evenstep.spec.geometry import COUNTERS, PRESETS, THRESHOLD_STYLES, WEIGHT_ENCODINGS, Geometry
from evenstep.spec.layer import Dense
from evenstep.spec.network import Network
from evenstep.spec.thresholds import Thresholds, fold_monotone

__all__ = [
    "COUNTERS",
    "ENCODINGS",
    "PRESETS",
    "THRESHOLD_STYLES",
    "WEIGHT_ENCODINGS",
    "Dense",
    "Encoding",
    "Geometry",
    "Network",
    "Thresholds",
    "fold_monotone",
    "signed_bits",
    "unsigned_bits",
]
