"""Plans of carry chains: which bits are added where, without any hardware.

A counter's partial products, ``a AND w`` of an activation bit and a weight bit, have weights ``2**(i+j)``. They are
compressed in stages. A stage consists of segments: short ripple adders, each over neighbouring weights. A position of a
segment adds two operands and the carry from below, leaves a sum of its own weight, and hands a carry up; the carry of
the last position is spilled as one more bit. So ``n`` positions turn ``2 n + 1`` bits into ``n + 1``.

An operand is whatever fits into the two inputs of a LUT that a position has for each: a partial product, a bit of an
earlier segment, or half of a half adder. The two bits ``x`` and ``y`` of one weight are ``x XOR y`` there and
``x AND y`` one weight up, so bits move up where a segment would otherwise end early, and the half adder is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Operand", "Plan", "Segment", "operand_value"]


@dataclass(frozen=True)
class Operand:
    """One operand of a position: ``"bit"``, ``"xor"`` or ``"and"`` of one or two bits, which numbers name."""

    kind: str
    bits: tuple[int, ...]


@dataclass(frozen=True)
class Segment:
    """A ripple adder over neighbouring weights.

    Parameters
    ----------
    stage : int
        Stage that it belongs to; its bits are for later stages.
    weight : int
        Binary logarithm of the weight of its first position.
    carry : Operand or None
        What goes into the carry of the first position.
    positions : tuple of tuple of Operand
        One or two operands each (none: it only takes the carry); in a plan for LUTs of six inputs more, see `lut6`.
    output : int
        Number of its first sum bit; the others, and the spilled carry as the last one, follow.
    spills : bool
        Whether the carry of the last position is kept; otherwise it is known to be 0.
    """

    stage: int
    weight: int
    carry: Operand | None
    positions: tuple[tuple[Operand, ...], ...]
    output: int
    spills: bool

    @property
    def outputs(self) -> int:
        """Number of bits that it makes."""
        return len(self.positions) + self.spills


@dataclass(frozen=True)
class Plan:
    """How the partial products of a counter become one number.

    Bits are numbered: first those that are given, then the outputs of segments.

    Parameters
    ----------
    inputs : tuple of int
        Binary logarithms of the weights of the bits that are given.
    segments : tuple of Segment
        By stage, so that each needs only bits that come before its own.
    result : tuple of tuple of Operand
        What is left: one operand for each weight at most, and in a plan for an accumulator two for the lowest.
    accumulator_bits : int
        Width of the accumulator that adds them; 0: there is none.
    chains : tuple of tuple of int
        Which segments share a carry chain, in ascending stages. The accumulator, if there is one, is the segment behind
        the last.
    """

    inputs: tuple[int, ...]
    segments: tuple[Segment, ...]
    result: tuple[tuple[Operand, ...], ...]
    accumulator_bits: int
    chains: tuple[tuple[int, ...], ...]

    @property
    def stages(self) -> int:
        """Number of stages, which is that of places for registers behind them."""
        return 1 + max((segment.stage for segment in self.segments), default=-1)

    def boundaries(self, latency: int) -> frozenset[int]:
        """Boundaries that have registers, where there are `latency` of them between inputs and result.

        Boundary s stands before stage s, and the last one behind all. The first one has a register only if all others
        do.
        """
        if latency > self.stages:
            return frozenset(range(self.stages + 1))
        return frozenset(round((number + 1) * self.stages / latency) for number in range(latency))

    def evaluate(self, given: Sequence[int]) -> int:
        """Weighted sum of the given bits, computed as the plan says."""
        bits = list(given)
        if len(bits) != len(self.inputs) or not set(bits) <= {0, 1}:
            raise ValueError(f"Bits must be {len(self.inputs)} zeros and ones, not {given!r}")

        def value(operand: Operand) -> int:
            return operand_value(operand.kind, [bits[bit] for bit in operand.bits])

        for segment in self.segments:
            total = value(segment.carry) if segment.carry else 0
            for place, operands in enumerate(segment.positions):
                total += sum(value(operand) for operand in operands) << place
            assert segment.output == len(bits) and total < 1 << segment.outputs
            bits += [total >> place & 1 for place in range(segment.outputs)]
        return sum(value(operand) << weight for weight, operands in enumerate(self.result) for operand in operands)


def operand_value(kind: str, bits: Sequence[int]) -> int:
    """An operand's value, 0 or 1, for values of its bits."""
    if kind == "bit":
        return bits[0]
    return bits[0] ^ bits[1] if kind == "xor" else bits[0] & bits[1]
