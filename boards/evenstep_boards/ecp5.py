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
}

_CELLS = {
    "LUTs": "TRELLIS_COMB",
    "flip-flops": "TRELLIS_FF",
    "block RAMs (18 Kbit)": "DP16KD",
    "DSPs": "MULT18X18D",
}


def ecp5_board(*, router: str, **own: Any) -> Board:
    """A board with an ECP5 and the network in its bitstream.

    Parameters
    ----------
    router : str
        Of nextpnr: ``"router1"`` does not end in a day for a device that is two thirds full, ``"router2"`` not with
        planned counters, whose elements have clock enables of their own.
    own
        The other parameters of `Board`.
    """
    return Board(
        clock=Ecp5Clock,
        baud=1_000_000,
        network="embedded",
        bitstream="bit",
        settings=_SETTINGS | {"nextpnr_opts": f"--router {router}"},
        cells=_CELLS,
        **own,
    )
