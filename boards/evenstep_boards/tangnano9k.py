"""Tang Nano 9K: a Gowin GW1NR-9C, with a small network in its bitstream."""

from amaranth_boards.tang_nano_9k import TangNano9kPlatform

from evenstep.spec import PRESETS
from evenstep_boards.board import NO_COLLISIONS, Board, openfpgaloader
from evenstep_boards.clocks import GowinClock

__all__ = ["TANG_NANO_9K"]


class _Platform(TangNano9kPlatform):
    """The board, built by the nextpnr of today: Amaranth 0.5 calls one for Gowin alone that is no longer made.

    That one reads no clock constraint; every clock must reach the engine's.
    """

    @property
    def required_tools(self) -> list[str]:
        return ["yosys", "nextpnr-himbaechel-gowin", "gowin_pack"]

    @property
    def command_templates(self) -> list[str]:
        synthesize, _, pack = self._apicula_command_templates
        route = """
            {{invoke_tool("nextpnr-himbaechel-gowin")}}
                {{quiet("--quiet")}}
                {{get_override("nextpnr_opts")|options}}
                --log {{name}}.tim
                --device {{platform.part}}
                --vopt family={{platform._chipdb_device}}
                --vopt cst={{name}}.cst
                --json {{name}}.syn.json
                --write {{name}}.pnr.json
        """
        return [synthesize, route, pack]


TANG_NANO_9K = Board(
    name="tangnano9k",
    title="Tang Nano 9K",
    device="GW1NR-9C",
    platform=_Platform,
    clock=GowinClock,
    clock_hz=27_000_000,
    baud=1_000_000,
    usb=(0x0403, 0x6010),
    geometry=PRESETS["tangnano9k"],
    network="embedded",
    bitstream="fs",
    # Wide multiplexers join neighbouring LUTs: a quarter more of them, with which the router does not end.
    settings={"script_after_read": NO_COLLISIONS, "synth_opts": "-nowidelut", "nextpnr_opts": "--router router2"},
    tells_clock=True,
    cells={
        "LUTs": "LUT4",
        "flip-flops": "DFF",
        "block RAMs (18 Kbit)": "BSRAM",
    },
    programmers=(openfpgaloader("tangnano9k"),),
    timing_note="The open tools' timing model of Gowin is not complete: this frequency is not credible yet",
)
