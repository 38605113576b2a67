"""The boards that can be built, by name."""

from evenstep.checks import check_choice
from evenstep_boards.board import Board
from evenstep_boards.ecpix5 import ECPIX5
from evenstep_boards.gatemateevb import GATEMATE_EVB
from evenstep_boards.icebreaker import ICEBREAKER
from evenstep_boards.orangecrab import ORANGECRAB
from evenstep_boards.tangnano9k import TANG_NANO_9K
from evenstep_boards.ulx3s import ULX3S

__all__ = ["BOARDS", "find_board"]

#: Every board, by its name.
BOARDS: dict[str, Board] = {
    board.name: board for board in (ICEBREAKER, ULX3S, ECPIX5, ORANGECRAB, TANG_NANO_9K, GATEMATE_EVB)
}


def find_board(name: str) -> Board:
    """Board of a name; `ValueError` that lists the names for any other."""
    check_choice("Board", name, tuple(BOARDS))
    return BOARDS[name]
