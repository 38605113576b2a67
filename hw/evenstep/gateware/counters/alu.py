"""What a position of a Gowin carry chain adds: a partial product and a bit, in one ALU.

In its mode for multipliers, an ALU's LUT makes ``(I0 AND I1) XOR I3``, and its carry is replaced by ``I0 AND I1`` where
that is 0: so it adds the product of two bits, a third one and the carry. A second product takes a LUT of its own. A
position with the same bit as both operands turns the carry into a sum bit and starts a new one, as on ECP5.
"""

from evenstep.gateware.counters.position import NONE_PENDING, Pending, PositionRules

__all__ = ["ALU"]


def _pend(pending: Pending, products: int, bits: int, *, carried: bool) -> Pending | None:
    return NONE_PENDING if products + bits <= 2 else None


def _adder_luts(products: int, bits: int) -> int:
    """One for each bit of the sum, of up to three operands with four inputs."""
    return min(products + bits, 2) if products + bits <= 3 and 2 * products + bits <= 4 else 0


#: A segment has one position more, where its carry becomes a bit.
ALU = PositionRules(
    pend=_pend,
    position_luts=lambda products, bits: 1 + (products > 1),
    adder_luts=_adder_luts,
    end_luts=1,
    tried=((8, 14), (8, 16), (14, 12), (14, 14), (14, 16)),
)
