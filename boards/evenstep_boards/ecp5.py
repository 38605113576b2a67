"""What builds for every board with an ECP5 share."""

from typing import Any

from evenstep_boards.board import NO_COLLISIONS, Board
from evenstep_boards.clocks import Ecp5Clock

__all__ = ["ecp5_board"]

# Of Amaranth's build. Yosys's abc9 aborts on wires named like ``\a[0]``, which are hidden before; wide multiplexers
# double the size of counters.
_SETTINGS = {
    "script_after_read": "rename -hide w:*\\[*\n" + NO_COLLISIONS,
    "synth_opts": "-nowidelut",
    # The second router does not end with planned counters, whose elements have clock enables of their own.
    "nextpnr_opts": "--router router1",
}

_CELLS = {
    "LUTs": "TRELLIS_COMB",
    "flip-flops": "TRELLIS_FF",
    "block RAMs (18 Kbit)": "DP16KD",
    "DSPs": "MULT18X18D",
}


def ecp5_board(**own: Any) -> Board:
    """A board with an ECP5 and the network in its bitstream.

    Parameters
    ----------
    own
        Parameters of `Board` that are its own.
    """
    return Board(
        clock=Ecp5Clock,
        baud=1_000_000,
        network="embedded",
        bitstream="bit",
        settings=_SETTINGS,
        cells=_CELLS,
        **own,
    )
