"""What builds for every board with an ECP5 share."""

from evenstep_boards.board import NO_COLLISIONS

__all__ = ["ECP5_CELLS", "ECP5_SETTINGS"]

#: Of Amaranth's build. Yosys's abc9 aborts on wires named like ``\a[0]``, which are hidden before; wide multiplexers
#: double the size of counters. The first router of nextpnr does not end in a day for a device that is two thirds full.
ECP5_SETTINGS = {
    "script_after_read": "rename -hide w:*\\[*\n" + NO_COLLISIONS,
    "synth_opts": "-nowidelut",
    "nextpnr_opts": "--router router2",
}

#: As `evenstep_boards.board.Board.cells`.
ECP5_CELLS = {
    "LUTs": "TRELLIS_COMB",
    "flip-flops": "TRELLIS_FF",
    "block RAMs (18 Kbit)": "DP16KD",
    "DSPs": "MULT18X18D",
}
