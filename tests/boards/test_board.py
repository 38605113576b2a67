"""Boards: what each says of itself, clocks that their PLLs can make, and designs that Amaranth can elaborate."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from serial.tools import list_ports

from evenstep.compiler import compile_network
from evenstep.host import LinkError
from evenstep.spec import PRESETS, Dense, Encoding, Network, Thresholds
from evenstep_boards.catalog import BOARDS, find_board
from evenstep_boards.clocks import ecp5_pll, gowin_pll, ice40_pll
from evenstep_boards.serial import find_port
from evenstep_boards.top import BoardTop
from evenstep_golden.sample import sample_network

# The engine with nothing in it but what the top needs.
TINY = {"rows": 1, "columns": 1, "lanes": 4, "weight_depth": 64, "act_depth": 64, "threshold_depth": 64}
# Receiver and transmitter where the documentation plugs in an adapter: pins 0 and 1 of a header, 7 and 1 of a PMOD.
ADAPTERS = {"orangecrab": ("N17", "M18"), "gatemateevb": ("IO_EA_B4", "IO_EA_A4")}


def test_names() -> None:
    assert list(BOARDS) == [board.name for board in BOARDS.values()]
    assert find_board("ulx3s").title == "ULX3S-85F"
    with pytest.raises(ValueError, match=rf"^Board must be one of {', '.join(BOARDS)}, not 'arty'$"):
        find_board("arty")


def test_presets() -> None:
    """Every board has the preset of its name, and no preset is that of a board that is not there."""
    assert {name: board.geometry for name, board in BOARDS.items()} == {name: PRESETS[name] for name in BOARDS}
    assert PRESETS.keys() - BOARDS.keys() == {"default", "tiny", "wide", "batch", "binary"}


def test_documented_figures_are_of_these_engines() -> None:
    """The table of builds has every board, with the engine and the clock that it gets today."""
    text = (Path(__file__).parents[2] / "docs" / "boards.md").read_text("utf-8")
    lines = text.partition("<!-- table:")[2].partition("<!-- end of table -->")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    columns = [rows[0].index(name) for name in ("board", "device", "R x C x K", "clock, MHz")]
    expected = []
    for board in BOARDS.values():
        size = f"{board.geometry.rows} x {board.geometry.columns} x {board.geometry.lanes}"
        expected.append([board.name, board.device, size, f"{board.clock_hz / 1e6:g}"])
    assert [[row[column] for column in columns] for row in rows[1:]] == expected


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s", "ecpix5", "orangecrab", "gatemateevb"])
def test_the_shipped_network_fits(name: str) -> None:
    geometry = BOARDS[name].geometry
    program = compile_network(sample_network(), geometry)
    assert program.useful > 0.9, "an engine that fits the network keeps its array busy"
    assert not any(result.overwritten for result in program.results), "every boundary can be read after a run"


def test_the_shipped_network_is_refused_where_it_does_not_fit() -> None:
    expected = r"^Weights of the network need 5232 words, 3184 more than the engine has: "
    with pytest.raises(ValueError, match=expected):
        compile_network(sample_network(), BOARDS["tangnano9k"].geometry)


def test_a_smaller_network_fits_the_smallest_board() -> None:
    """What the documentation says that it is for: 784-128-10, of pixels with 8 bits."""
    rng = np.random.default_rng(1)
    encoding = Encoding("odd-level", 2)
    first = Dense("fc1", rng.integers(0, 4, (128, 784)), encoding, 8, Thresholds(np.tile([-9, 0, 9], (128, 1))))
    network = Network((first, Dense("fc2", rng.integers(0, 4, (10, 128)), encoding, 2)))
    program = compile_network(network, BOARDS["tangnano9k"].geometry)
    assert program.useful > 0.9
    assert not any(result.overwritten for result in program.results)


@pytest.mark.parametrize("name", BOARDS)
def test_top_elaborates(name: str) -> None:
    """The design has its pins, its clock and nothing undriven; tools are not needed for that."""
    board = BOARDS[name]
    board = replace(board, geometry=board.geometry.replace(**TINY))
    files = board.prepare(BoardTop(board, {}), "top")
    commands = json.loads(files["build_top.json"])["commands"]
    first, second, _ = [command[0].partition("-")[0] for command in commands]
    assert (first, second) == ("yosys", "nextpnr"), "a build is synthesis, place and route, and packing"
    pins = next(content for file, content in files.items() if file.endswith((".pcf", ".lpf", ".cst", ".ccf")))
    for wire in ("uart_0__rx", "uart_0__tx", board.light[0]):
        assert wire in pins
    for wire, site in zip(("rx", "tx"), ADAPTERS.get(name, ()), strict=False):
        assert re.search(rf'"uart_0__{wire}__io"[^\n]*"{site}"', pins)


def test_no_board_has_memory_that_weights_could_stream_from() -> None:
    board = BOARDS["ulx3s"]
    board = replace(board, geometry=board.geometry.replace(port_bits=64))
    with pytest.raises(ValueError, match=r"\APort bits of an engine on ulx3s must be 0, not 64: "):
        BoardTop(board, {})


def test_baud_rate_must_be_what_the_clock_makes() -> None:
    with pytest.raises(ValueError, match=r"^Baud rate must be at most 1 / 8 of the clock, and within 1 percent"):
        replace(BOARDS["icebreaker"], baud=5_000_000)
    with pytest.raises(ValueError, match=r"not 1610000 with 36000000 Hz$"):
        replace(BOARDS["icebreaker"], baud=1_610_000)
    with pytest.raises(TypeError, match=r"^Clock must be a positive integer, not 21\.5$"):
        replace(BOARDS["icebreaker"], clock_hz=21.5)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_board_without_a_port_of_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_ports, "comports", lambda: [])
    title = re.escape(BOARDS[name].title)
    expected = rf"^{title} has no serial port of its own \(there are no serial ports\): name that of your adapter "
    with pytest.raises(LinkError, match=expected):
        find_port(BOARDS[name])


@pytest.mark.parametrize(
    ("wanted", "multiplier", "exponent"), [(21_000_000, 56, 5), (48_000_000, 64, 4), (12_000_000, 64, 6)]
)
def test_ice40_pll(wanted: int, multiplier: int, exponent: int) -> None:
    assert ice40_pll(12_000_000, wanted) == (multiplier, exponent)
    assert 12_000_000 * multiplier >> exponent == wanted


@pytest.mark.parametrize(
    ("source", "wanted"), [(25_000_000, 50_000_000), (100_000_000, 30_000_000), (48_000_000, 32_000_000)]
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


@pytest.mark.parametrize(
    ("pll", "source", "wanted", "nearest"),
    [
        (ice40_pll, 12_000_000, 20_999_999, 21_000_000),
        (ecp5_pll, 48_000_000, 150_000_000, 144_000_000),
        (gowin_pll, 27_000_000, 1, 3_375_000),
    ],
)
def test_a_clock_that_no_pll_makes(pll, source: int, wanted: int, nearest: int) -> None:
    """One that it makes is named."""
    message = f"Clock must be one that the PLL makes of {source} Hz, such as {nearest} Hz, not {wanted} Hz"
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        pll(source, wanted)
    assert pll(source, nearest)
