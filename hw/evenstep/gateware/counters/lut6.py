"""What a position of a 7-series carry chain adds: one LUT of six inputs, or two of the same five, in front of a carry.

A position hands the carry on where the LUT's output O6 is 1, and otherwise replaces it by DI: so it adds 0, 1 or 2, the
latter by ``O6 = 0, DI = 1``. DI is the LUT's second output, O5, if both have the same five inputs, or a bit from
outside.

So a position takes more than two operands: all but one of them leave their parity here, and half of the rest, which is
a number again, to the LUT of the next position, which gets the same inputs. Six bits of one weight thus take two LUTs,
and become three bits.

=======================  ======================  ==========================================================
from the position below  operands here           added here
=======================  ======================  ==========================================================
nothing                  n, the last one direct  parity of n - 1, and the last one; half of n - 1 goes up
0 or 1                   one, direct             both
0 or 1                   n > 1                   what came, and parity of n; half of n goes up
0, 1 or 2                none                    what came
=======================  ======================  ==========================================================
"""

from collections.abc import Sequence
from typing import TypeVar

from evenstep.gateware.counters.position import NONE_PENDING, Pending, PositionRules

__all__ = ["LUT6", "fits_full_adder", "pend", "split"]

_T = TypeVar("_T")


def split(pending: Pending, operands: Sequence[_T]) -> tuple[Sequence[_T], Sequence[_T]]:
    """Operands of which the parity is added, and the one that is added as it is, if any."""
    grouped = len(operands) if pending.most and len(operands) > 1 else max(0, len(operands) - 1)
    return operands[:grouped], operands[grouped:]


def pend(pending: Pending, products: int, bits: int, *, carried: bool) -> Pending | None:
    """What a position with so many operands, products first, leaves to the next one; None: its LUT cannot do that.

    Parameters
    ----------
    products, bits : int
        Operands of two inputs, and of one.
    carried : bool
        Whether a bit goes into the carry here. It comes in where a bit from outside would reach DI.
    """
    sizes = [2] * products + [1] * bits
    grouped, direct = split(pending, sizes)
    if pending.most + bool(grouped) + len(direct) > 2:
        return None
    inputs = pending.inputs + sum(sizes)
    from_outside = inputs == 6 and direct == [1] and not carried
    if inputs > 5 and not from_outside:
        return None
    return Pending(sum(grouped), len(grouped) // 2) if len(grouped) > 1 else NONE_PENDING


def fits_full_adder(products: int, bits: int) -> bool:
    """Whether a LUT with two outputs adds these operands of one weight without a carry chain."""
    return 2 <= products + bits <= 3 and 2 * products + bits <= 5


#: Positions and full adders take a LUT each, and segments nothing else.
LUT6 = PositionRules(
    pend=pend,
    position_luts=lambda products, bits: 1,
    adder_luts=lambda products, bits: int(fits_full_adder(products, bits)),
    end_luts=0,
    tried=((7, 28), (7, 32), (10, 28), (10, 32)),
)
