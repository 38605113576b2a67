"""Rescaling in stages, for engines whose array has registers everywhere: one behind each step of the arithmetic."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from evenstep.gateware.fixed import bits_above, clip, fit, overflows
from evenstep.gateware.stages import Hold
from evenstep.spec.geometry import FACTOR_BITS, RESULT_BITS

__all__ = ["Scale", "rescale_in_stages", "saturate_in_stages"]

#: Bits of the lower half of a value: with a sign, what a multiplier takes.
_HALF = FACTOR_BITS - 1
_WIDE = 64


class Scale:
    """Settings of a layer, in registers: how far to shift, and the sign and all bits above it of what is left.

    Parameters
    ----------
    m : Module
        Whose registers they are.
    name : str
        What they are for.
    used : Value
        Whether the layer wants it; otherwise values pass as they are.
    bits : Value
        Width to which values are saturated.
    shift : Value or None
        Bits to drop.
    """

    def __init__(self, m: Module, name: str, used: Value, bits: Value, shift: Value | None = None) -> None:
        self.shift = Signal(6, name=f"{name}_shift", reset_less=True)
        self.above = Signal(signed(_WIDE), name=f"{name}_above", reset_less=True)
        limit = Signal(len(bits), name=f"{name}_bits", reset_less=True)
        m.d.sync += [limit.eq(Mux(used, bits, RESULT_BITS)), self.above.eq(bits_above(limit))]
        if shift is not None:
            m.d.sync += self.shift.eq(Mux(used, shift, 0))


def rescale_in_stages(
    hold: Hold, values: list[Value], factors: list[Value], offsets: list[Value], scale: Scale
) -> list[Value]:
    """``(value * factor + offset) >> shift``, saturated, behind `evenstep.gateware.timing.RESCALE_STAGES`.

    A product with half of a value fits a multiplier of 18 by 18 bits, so that no addition is behind it. Values have up
    to 32 bits, offsets 64; what is shifted is modulo 2**64.
    """
    wide = [Cat(value, value[-1].replicate(max(0, FACTOR_BITS - len(value)))) for value in values]
    low = hold([value[:_HALF] * factor for value, factor in zip(wide, factors, strict=True)], "low")
    high = hold([value[_HALF:].as_signed() * factor for value, factor in zip(wide, factors, strict=True)], "high")
    products = hold([one + (other << _HALF) for one, other in zip(low, high, strict=True)], "scaled")
    for stage in range(2):
        offsets = hold(offsets, f"offset{stage}_")
    totals = [product + offset.as_signed() for product, offset in zip(products, offsets, strict=True)]
    moved = hold([fit(total, _WIDE) for total in totals], "biased")
    moved = hold([value >> Cat(Const(0, 3), scale.shift[3:]) for value in moved], "by_eights")
    moved = hold([value >> scale.shift[:3] for value in moved], "moved")
    return saturate_in_stages(hold, moved, scale, "clipped")


def saturate_in_stages(hold: Hold, values: list[Value], scale: Scale, name: str) -> list[Value]:
    """Nearest numbers of the layer's width, behind `evenstep.gateware.timing.SATURATE_STAGES`."""
    flags = hold([Cat(overflows(value, scale.above)) for value in values], f"{name}_overflows")
    values = hold(values, f"{name}_whole")
    return hold([clip(value, scale.above, *flag) for value, flag in zip(values, flags, strict=True)], name)
