"""OrangeCrab with the larger ECP5, and the network in its bitstream."""

from amaranth.build import Attrs
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource

from evenstep.spec import PRESETS
from evenstep_boards.board import Programmer
from evenstep_boards.ecp5 import ecp5_board

__all__ = ["ORANGECRAB"]


class _Platform(OrangeCrabR0_2_85FPlatform):
    """The board with an adapter's serial line on its header, where boards of this shape have it: the engine receives on
    pin 0, and transmits on pin 1.

    The platform ends a build with a suffix that tells dfu-util the USB device which a file is for. The programmer's
    arguments tell it instead, so that building needs no program that is not on PyPI.
    """

    resources = [
        *OrangeCrabR0_2_85FPlatform.resources,
        UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
    ]

    @property
    def required_tools(self) -> list[str]:
        return [tool for tool in super().required_tools if tool != "dfu-suffix"]

    @property
    def command_templates(self) -> list[str]:
        return [template for template in super().command_templates if "dfu-suffix" not in template]


ORANGECRAB = ecp5_board(
    name="orangecrab",
    title="OrangeCrab r0.2 85F",
    device="LFE5U-85F",
    platform=_Platform,
    clock_hz=176_000_000,
    # Its own USB leads to the FPGA, and to the boot loader in it until an engine is there.
    usb=None,
    light=("rgb_led", "g"),
    geometry=PRESETS["orangecrab"],
    programmers=(
        Programmer(
            commands=("dfu-util",),
            # The boot loader's USB device, and its part for bitstreams.
            arguments=("-d", "1209:5af0", "-a", "0", "-D"),
            install="apt-get install dfu-util",
        ),
    ),
)
