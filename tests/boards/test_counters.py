"""Counters on boards: which get vendor cells; and a small run of the benchmark, for what the cells amount to."""

import re
import subprocess
import sys
from pathlib import Path

from amaranth.back.rtlil import convert

from evenstep.gateware.counters.ccu2c import has_ccu2c
from evenstep.gateware.element import create_element
from evenstep.spec import Geometry
from evenstep_boards.catalog import BOARDS

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "counters.py"


def _run(cwd: Path, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARK), "--quick", "--structures", "planned", "sum", *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_cells_are_for_their_boards() -> None:
    cells = {name for name, board in BOARDS.items() if has_ccu2c(board.platform())}
    assert cells >= {"ulx3s", "ecpix5"}
    assert not cells & {"icebreaker", "tangnano9k", "gatemateevb"}
    text = convert(create_element(Geometry(counter="ecp5", lanes=4)), platform=BOARDS["ulx3s"].platform())
    assert "CCU2C" in text
    assert "CCU2C" not in convert(create_element(Geometry(counter="ecp5", lanes=4)))


def test_table_and_page(tmp_path: Path) -> None:
    printed = _run(tmp_path)
    # Four products: a segment of two positions and an accumulator of 16, one in front of each; and two constants.
    assert re.search(r"^ +ecp5 +4 +1 x 1 +planned +1 +22 ", printed, re.MULTILINE), printed
    assert re.search(r"^ +ecp5 +4 +1 x 1 +sum +1 +\d\d ", printed, re.MULTILINE), printed
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin of measured table -->\nold\n<!-- end of measured table -->\nafter\n")
    assert _run(tmp_path, "--document", "page.md").splitlines() == printed.splitlines()[2:], "Nothing is measured twice"
    text = page.read_text()
    assert text.startswith("before\n<!-- begin") and text.endswith("end of measured table -->\nafter\n")
    assert "| ecp5 | 4 | 1 x 1 | planned | 1 | 22 |" in text and "old" not in text
