"""What a joiner computes of values and shortcuts: one of them is rescaled about a knee, then both are added.

Both forms take the settings of `evenstep.gateware.join.join_layout`, a signed value and a shortcut for each row, and
the words of a channel's knee: the knee; multiplier, and low and high word of the bias from it on; the same below it.
"""

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import data

from evenstep.gateware.fixed import fit, is_below, saturate
from evenstep.gateware.rescale import Scale, rescale_in_stages, saturate_in_stages
from evenstep.gateware.stages import Hold
from evenstep.gateware.timing import REGISTERED_READ, RESCALE_STAGES
from evenstep.spec.geometry import FACTOR_BITS, RESULT_BITS

__all__ = ["bend_and_add", "bend_and_add_in_stages"]

_WORD = 32


def bend_and_add(
    m: Module, hold: Hold, settings: data.View, values: list[Value], wide: list[Value], words: list[Value]
) -> list[Value]:
    """Sums, behind six stages; shortcuts and knees are behind the first."""
    values = hold(values, "value")
    # 2: the line is chosen.
    knee, *lines = words
    above, below = Cat(lines[:3]), Cat(lines[3:])
    bent = [Mux(settings.joins, shortcut, value) for shortcut, value in zip(wide, values, strict=True)]
    chosen = hold([Mux(x >= knee.as_signed(), above, below) for x in bent], "line")
    bent, values = hold(bent, "bent"), hold(values, "late_value")
    # 3: multiplication. 4: bias and shift. 5: saturation.
    factors = [Mux(settings.bends, line[:FACTOR_BITS].as_signed(), 1) for line in chosen]
    biases = hold([Mux(settings.bends, line[_WORD:], 0) for line in chosen], "bias")
    products = hold([x * factor for x, factor in zip(bent, factors, strict=True)], "product")
    shift = Mux(settings.bends, settings.shift, 0)
    moved = [product + bias.as_signed() for product, bias in zip(products, biases, strict=True)]
    moved = hold([fit(total, 64) >> shift for total in moved], "moved")
    limit = Mux(settings.bends, settings.bits, RESULT_BITS)
    bent = hold(saturate(m, moved, limit, "clipped"), "clipped")
    for stage in range(3):
        values = hold(values, f"waiting{stage}_")
    # 6: sum with the shortcut.
    totals = [Mux(settings.joins, value, 0) + x for value, x in zip(values, bent, strict=True)]
    limit = Mux(settings.joins, settings.sum_bits, RESULT_BITS)
    return hold(saturate(m, totals, limit, "joined"), "total")


def bend_and_add_in_stages(
    m: Module, hold: Hold, settings: data.View, values: list[Value], wide: list[Value], words: list[Value]
) -> list[Value]:
    """The same, with a register behind each step: three choose the line, one adds the shortcut. Shortcuts and knees are
    behind the registers of their memories.
    """
    scale = Scale(m, "bend", settings.bends, settings.bits, settings.shift)
    joined = Scale(m, "join", settings.joins, settings.sum_bits)
    for stage in range(REGISTERED_READ):
        values = hold(values, f"value{stage}_")
    bent = hold([Mux(settings.joins, shortcut, value) for shortcut, value in zip(wide, values, strict=True)], "x")
    words = hold(words, "word")
    is_above = hold([~is_below(x, words[0].as_signed()) for x in bent], "is_above")
    bent, lines = hold(bent, "compared"), hold(words[1:], "line")
    chosen = [Mux(high, Cat(lines[:3]), Cat(lines[3:])) for high in is_above]
    factors = hold([Mux(settings.bends, line[:FACTOR_BITS].as_signed(), 1) for line in chosen], "factor")
    offsets = hold([Mux(settings.bends, line[_WORD:], 0) for line in chosen], "bias")
    bent = rescale_in_stages(hold, hold(bent, "chosen"), factors, offsets, scale)
    for stage in range(3 + RESCALE_STAGES):
        values = hold(values, f"waiting{stage}_")
    totals = [Mux(settings.joins, value, 0) + x for value, x in zip(values, bent, strict=True)]
    return saturate_in_stages(hold, hold(totals, "sum"), joined, "joined")
