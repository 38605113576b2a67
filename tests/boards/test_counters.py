"""Counters on boards: which get vendor cells."""

from amaranth.back.rtlil import convert

from evenstep.gateware.counters.ccu2c import has_ccu2c
from evenstep.gateware.element import create_element
from evenstep.spec import Geometry
from evenstep_boards.catalog import BOARDS


def test_cells_are_for_their_boards() -> None:
    cells = {name for name, board in BOARDS.items() if has_ccu2c(board.platform())}
    assert cells >= {"ulx3s", "ecpix5"}
    assert not cells & {"icebreaker", "tangnano9k", "gatemateevb"}
    text = convert(create_element(Geometry(counter="ecp5", lanes=4)), platform=BOARDS["ulx3s"].platform())
    assert "CCU2C" in text
    assert "CCU2C" not in convert(create_element(Geometry(counter="ecp5", lanes=4)))
