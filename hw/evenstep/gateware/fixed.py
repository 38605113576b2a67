"""Fixed point: what blocks that rescale have in common."""

from amaranth.hdl import Module, Mux, Signal, Value, signed

from evenstep.spec.geometry import RESULT_BITS

__all__ = ["fit", "saturate"]


def fit(value: Value, bits: int) -> Value:
    """Two's complement of `bits` bits, of a number that fits."""
    return value[:bits].as_signed() if len(value) >= bits else value


def saturate(m: Module, values: list[Value], bits: Value, name: str) -> list[Value]:
    """Nearest numbers of `bits` bits, which are at most `RESULT_BITS`, of `values` of one width."""
    # Bits from the sign of the narrower result up must all be alike.
    above = Signal(signed(len(values[0])), name=f"{name}_above")
    m.d.comb += above.eq(-1 << (bits - 1)[:6])
    clipped = []
    for value in values:
        high, low = (value & above) != 0, (~value & above) != 0
        clipped.append(fit(Mux(value[-1], Mux(low, above, value), Mux(high, ~above, value)), RESULT_BITS))
    return clipped
