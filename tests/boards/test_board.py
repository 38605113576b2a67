"""Boards: what each says of itself, clocks that their PLLs can make, and designs that Amaranth can elaborate."""

import json
import re
from dataclasses import replace

import pytest
from serial.tools import list_ports

from evenstep.compiler import compile_network
from evenstep.host import LinkError
from evenstep.qonnx import read_network
from evenstep_boards.catalog import BOARDS, find_board
from evenstep_boards.clocks import ecp5_pll, gowin_pll, ice40_pll
from evenstep_boards.images import sample_network_path
from evenstep_boards.serial import find_port
from evenstep_boards.top import BoardTop

# The engine with nothing in it but what the top needs.
TINY = {"rows": 1, "columns": 1, "lanes": 4, "weight_depth": 64, "act_depth": 64, "threshold_depth": 64}


def test_names() -> None:
    assert list(BOARDS) == [board.name for board in BOARDS.values()]
    assert find_board("ulx3s").title == "ULX3S-85F"
    with pytest.raises(ValueError, match=rf"^Board must be one of {', '.join(BOARDS)}, not 'arty'$"):
        find_board("arty")


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s", "ecpix5", "gatemateevb"])
def test_the_shipped_network_fits(name: str) -> None:
    geometry = BOARDS[name].geometry
    program = compile_network(read_network(sample_network_path()), geometry)
    assert program.useful > 0.9, "an engine that fits the network keeps its array busy"
    assert not any(layer.overwritten for layer in program.layers), "every boundary can be read after a run"


def test_the_shipped_network_is_refused_where_it_does_not_fit() -> None:
    expected = r"^Weights of the network need 5232 words, 3184 more than the engine has: "
    with pytest.raises(ValueError, match=expected):
        compile_network(read_network(sample_network_path()), BOARDS["tangnano9k"].geometry)


@pytest.mark.parametrize("name", BOARDS)
def test_top_elaborates(name: str) -> None:
    """The design has its pins, its clock and nothing undriven; tools are not needed for that."""
    board = BOARDS[name]
    board = replace(board, geometry=board.geometry.replace(**TINY))
    files = board.platform().prepare(BoardTop(board, {}), "top", emit_src=False, **board.settings).files
    commands = json.loads(files["build_top.json"])["commands"]
    assert [command[0].partition("-")[0] for command in commands[:2]] == ["yosys", "nextpnr"]
    pins = next(content for file, content in files.items() if file.endswith((".pcf", ".lpf", ".cst", ".ccf")))
    for wire in ("uart_0__rx", "uart_0__tx", board.light[0]):
        assert wire in pins


def test_baud_rate_must_be_what_the_clock_makes() -> None:
    with pytest.raises(ValueError, match=r"^Baud rate must be at most a 8th of the clock, and within 1 percent"):
        replace(BOARDS["icebreaker"], baud=3_000_000)
    with pytest.raises(ValueError, match=r"not 1700000 with 21000000 Hz$"):
        replace(BOARDS["icebreaker"], baud=1_700_000)
    with pytest.raises(TypeError, match=r"^Clock must be a positive integer, not 21\.5$"):
        replace(BOARDS["icebreaker"], clock_hz=21.5)


def test_a_board_without_a_port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_ports, "comports", lambda: [])
    expected = r"^Olimex GateMateA1-EVB has no serial port of its own \(there are no serial ports\): name that of your "
    with pytest.raises(LinkError, match=expected):
        find_port(BOARDS["gatemateevb"])


@pytest.mark.parametrize(
    ("wanted", "multiplier", "exponent"), [(21_000_000, 56, 5), (48_000_000, 64, 4), (12_000_000, 64, 6)]
)
def test_ice40_pll(wanted: int, multiplier: int, exponent: int) -> None:
    assert ice40_pll(12_000_000, wanted) == (multiplier, exponent)
    assert 12_000_000 * multiplier >> exponent == wanted


@pytest.mark.parametrize(
    ("source", "wanted"), [(25_000_000, 50_000_000), (100_000_000, 25_000_000), (48_000_000, 48_000_000)]
)
def test_ecp5_pll(source: int, wanted: int) -> None:
    divisor, multiplier, output = ecp5_pll(source, wanted)
    assert source * multiplier == wanted * divisor
    assert 400_000_000 <= wanted * output <= 800_000_000 and source // divisor >= 10_000_000


@pytest.mark.parametrize("wanted", [27_000_000, 54_000_000, 40_500_000])
def test_gowin_pll(wanted: int) -> None:
    divisor, multiplier, output = gowin_pll(27_000_000, wanted)
    assert 27_000_000 * multiplier == wanted * divisor
    assert 400_000_000 <= wanted * output <= 1_200_000_000


@pytest.mark.parametrize("pll", [ice40_pll, ecp5_pll, gowin_pll])
def test_a_clock_that_no_pll_makes(pll) -> None:
    expected = re.escape("Clock must be one that the PLL makes of 12000000 Hz, not 20999999 Hz")
    with pytest.raises(ValueError, match=rf"^{expected}$"):
        pll(12_000_000, 20_999_999)
