"""Line banks: how the lines of a picture lie in several memories, so that rows can read neighbouring ones at once."""

from dataclasses import dataclass

from evenstep.checks import check_int

__all__ = ["BANK_WORDS", "MAX_BANKS", "ONE_BANK", "LineBanks"]

#: Most banks that lines are spread over.
MAX_BANKS = 16
#: Words of a descriptor about them: one of the window, one of codes that are written.
BANK_WORDS = 2


@dataclass(frozen=True)
class LineBanks:
    """Lines of a picture in banks: `interleave` lines in one, the next ones in the next, and so on, round and round.

    Rows that take neighbouring positions of a window which moves down by `interleave` lines want lines that far apart:
    these are always in different banks. Line numbers may be negative, as those above a picture are.

    Parameters
    ----------
    banks : int
        Their number, a power of two up to `MAX_BANKS`. One: all lines lie one after the other.
    interleave : int
        A power of two up to `banks`.

    Raises
    ------
    TypeError, ValueError
        A number is of the wrong kind or out of range.
    """

    banks: int = 1
    interleave: int = 1

    def __post_init__(self) -> None:
        check_int("Banks", self.banks, 1, MAX_BANKS)
        check_int("Interleave", self.interleave, 1, self.banks)
        for name, value in (("Banks", self.banks), ("Interleave", self.interleave)):
            if value & value - 1:
                raise ValueError(f"{name} must be a power of two, not {value}")

    def bank(self, line: int) -> int:
        """Bank of a line."""
        return line // self.interleave % self.banks

    def index(self, line: int) -> int:
        """Which line of its bank it is."""
        return line // (self.interleave * self.banks) * self.interleave + line % self.interleave

    def lines(self, height: int) -> int:
        """Lines that each bank has room for, of a picture of `height` lines.

        All that rows write together have room, those beyond the picture too.
        """
        return -(-height // (self.interleave * self.banks)) * self.interleave


#: All lines one after the other.
ONE_BANK = LineBanks()
