"""What the position of a carry chain can add, and what that costs: all that planning has to know of a family."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["NONE_PENDING", "Pending", "PositionRules"]


@dataclass(frozen=True)
class Pending:
    """What the position below leaves to add: a number of 0 to `most`, of so many `inputs`."""

    inputs: int
    most: int


NONE_PENDING = Pending(0, 0)


class _Pend(Protocol):
    def __call__(self, pending: Pending, products: int, bits: int, *, carried: bool) -> Pending | None: ...


@dataclass(frozen=True)
class PositionRules:
    """A family's positions.

    Parameters
    ----------
    pend : callable
        What a position with so many operands, products and bits, leaves to the next one; None: it cannot add them.
        `carried`: a bit goes into the carry here.
    position_luts : callable
        LUTs of a position with so many of both.
    adder_luts : callable
        LUTs of a full or half adder of so many of both, without a carry chain; 0: there is none.
    end_luts : int
        LUTs of a segment beside those of its positions.
    tried : tuple of (int, int)
        What a planner tries that a product gains which a LUT absorbs, and what a LUT must gain, where a bit that is
        removed gains 20.
    """

    pend: _Pend
    position_luts: Callable[[int, int], int]
    adder_luts: Callable[[int, int], int]
    end_luts: int
    tried: tuple[tuple[int, int], ...]
