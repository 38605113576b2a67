"""Ports to external memory: what their AXI4 allows, as compiler and gateware both know it."""

from evenstep.checks import check_int

__all__ = ["PAGE_BYTES", "check_data_bits"]

#: No burst may cross a multiple of this address.
PAGE_BYTES = 4096
_MIN_DATA_BITS = 32
_MAX_DATA_BITS = 1024


def check_data_bits(value: int, name: str = "Data bits") -> int:
    """Return `value`, which messages call `name`, if it is a width that AXI4 data has here: a power of two, 32 to 1024.

    Raises
    ------
    TypeError
        `value` is no integer.
    ValueError
        It is no such width.
    """
    bits = check_int(name, value, _MIN_DATA_BITS, _MAX_DATA_BITS)
    if bits & bits - 1:
        raise ValueError(f"{name} must be a power of two from {_MIN_DATA_BITS} to {_MAX_DATA_BITS}, not {bits}")
    return bits
