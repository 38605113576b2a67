"""Fixed point: what blocks that rescale have in common."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed

from evenstep.spec.geometry import RESULT_BITS

__all__ = ["bits_above", "clip", "fit", "is_below", "overflows", "saturate"]


def fit(value: Value, bits: int) -> Value:
    """Two's complement of `bits` bits, of a number that fits."""
    return value[:bits].as_signed() if len(value) >= bits else value


def is_below(value: Value, limit: Value) -> Value:
    """Whether a signed number is less than another: the sign of their difference, which a carry chain ends with.
    Synthesis takes the last carry out of the chain for a comparison, and logic for the signs behind it.
    """
    return (value - limit)[-1]


def saturate(m: Module, values: list[Value], bits: Value, name: str) -> list[Value]:
    """Nearest numbers of `bits` bits, which are at most `RESULT_BITS`, of `values` of one width."""
    above = Signal(signed(len(values[0])), name=f"{name}_above")
    m.d.comb += above.eq(bits_above(bits))
    return [clip(value, above, *overflows(value, above)) for value in values]


def bits_above(bits: Value) -> Value:
    """Of a number of `bits` bits, 1 to 64, the sign and all above, which must be alike: what it is the smallest of."""
    return Const(-1, signed(1)) << (bits - 1)[:6]


def overflows(value: Value, above: Value) -> tuple[Value, Value]:
    """Whether a number has ones, and zeros, where they all must be alike: which one is an overflow, its sign tells."""
    return (value & above) != 0, (~value & above) != 0


def clip(value: Value, above: Value, ones: Value, zeros: Value) -> Value:
    """The nearest number to `value` without an overflow; `ones` and `zeros` as `overflows` gives them."""
    return fit(Mux(value[-1], Mux(zeros, above, value), Mux(ones, ~above, value)), RESULT_BITS)
