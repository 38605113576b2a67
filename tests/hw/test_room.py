"""Block RAMs and SPRAMs that an engine's memories take, of those that a device has."""

from evenstep.estimate.devices import DEVICES
from evenstep.estimate.room import memory_room
from evenstep.spec import PRESETS, Geometry


def test_room_of_a_board() -> None:
    """The iCEBreaker's engine takes all block RAMs and SPRAMs of its device, as the bitstream says."""
    device = DEVICES["ice40up5k"]
    room = memory_room(PRESETS["icebreaker"], device)
    assert (room.blocks, room.sprams, room.kbits) == (device.blocks, 4, 120 + 1024) == (30, 4, 1144)
    # Words wider than those of all SPRAMs, or more of them, go to block RAMs.
    for change in ({"columns": 4}, {"weight_depth": 2**14 + 1}):
        assert memory_room(PRESETS["icebreaker"].replace(**change), device).sprams == 0


def test_blocks_of_devices() -> None:
    """Numbers of block RAMs are those of the data sheets."""
    blocks = {name: device.blocks for name, device in DEVICES.items()}
    assert blocks == {
        "ice40hx8k": 32,
        "ice40up5k": 30,
        "ecp5-25f": 56,
        "ecp5-45f": 108,
        "ecp5-85f": 208,
        "gw1nr-9": 26,
        "gatemate-a1": 64,
    }


def test_room_grows() -> None:
    """Words that do not fill a block RAM take one all the same; binary search reads in each row."""
    device, g = DEVICES["ecp5-85f"], Geometry(weight_depth=512)
    assert memory_room(g.replace(weight_depth=513), device).blocks > memory_room(g, device).blocks
    search = g.replace(threshold_style="search")
    more = [memory_room(one.replace(rows=4), device).blocks - memory_room(one, device).blocks for one in (g, search)]
    assert more[1] > more[0]
    # Two words of a channel, which all rows share, in device of 15 thresholds.
    requantize = g.replace(threshold_style="requantize", rows=4)
    assert memory_room(requantize.replace(output_bits=4), device) == memory_room(requantize, device)
    assert memory_room(requantize, device).blocks < memory_room(search.replace(output_bits=4), device).blocks
