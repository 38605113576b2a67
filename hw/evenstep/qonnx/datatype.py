"""QONNX data types, as far as network files need them, and what they say about encodings.

Names are those of the QONNX project: ``BIPOLAR`` (-1 and 1), ``BINARY`` (0 and 1), ``INTn``, ``UINTn``.
"""

import re

from evenstep.spec import Encoding, signed_bits, unsigned_bits

__all__ = [
    "DATATYPE_KEY",
    "DOMAIN",
    "ENCODING_KEY",
    "EXACT_LIMIT",
    "LABELS_KEY",
    "encoding_datatype",
    "infer_encoding",
    "unsigned_datatype",
    "unsigned_width",
]

#: Domain of the operator `MultiThreshold`.
DOMAIN = "qonnx.custom_op.general"
#: Keys of a tensor's quantization annotation: QONNX's own, and the encoding that no QONNX type can express.
DATATYPE_KEY, ENCODING_KEY = "finn_datatype", "evenstep_encoding"
#: Key of the model's metadata: the names of the classes, as a JSON list.
LABELS_KEY = "evenstep_labels"
#: Integers are stored as float32, which holds all of them below this size.
EXACT_LIMIT = 2**24


def unsigned_datatype(bits: int) -> str:
    """Name of the type of unsigned `bits`-bit codes."""
    return "BINARY" if bits == 1 else f"UINT{bits}"


def unsigned_width(name: str) -> int:
    """Width of unsigned codes of type `name`; raises `ValueError` for any other type."""
    match = re.fullmatch(r"UINT([1-9][0-9]?)", "UINT1" if name == "BINARY" else name)
    if match is None:
        raise ValueError(f"data type must be an unsigned integer such as 'UINT2', not {name!r}")
    return int(match[1])


def encoding_datatype(encoding: Encoding) -> str:
    """Name of the smallest type that holds all weights of `encoding`: INT3 for the odd levels -3, -1, 1 and 3."""
    low, high = encoding.min_value, encoding.max_value
    if (encoding.kind, encoding.bits) == ("odd-level", 1):
        return "BIPOLAR"
    if low >= 0:
        return unsigned_datatype(unsigned_bits(high))
    return f"INT{signed_bits(low, high)}"


def infer_encoding(name: str) -> Encoding:
    """Encoding of weights of type `name`, for files that do not name one; raises `ValueError` for other types."""
    if name == "BIPOLAR":
        return Encoding("odd-level", 1)
    if match := re.fullmatch(r"INT([1-9][0-9]?)", name):
        return Encoding("twos-complement", int(match[1]))
    try:
        return Encoding("unsigned", unsigned_width(name))
    except ValueError:
        raise ValueError(
            f"data type of weights must be BIPOLAR, BINARY, INTn or UINTn with n <= 16, not {name!r}"
        ) from None
