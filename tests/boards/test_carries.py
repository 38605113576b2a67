"""Which ends of ECP5's carry chains are opened, and what that saves with the real nextpnr."""

import json
from pathlib import Path
from typing import Any

import pytest

from evenstep.gateware.count import create_counter
from evenstep.gateware.counters.form import CellForm
from evenstep.generate import emit_verilog
from evenstep_boards.carries import open_carry_ends
from evenstep_boards.place import place_netlist
from evenstep_boards.synthesize import synthesize_verilog

# C0 = 1 and D0 = 0: entries 4 to 7 of the table matter.
_ANEW, _PLAIN = f"{0x000A:016b}", f"{0x6666:016b}"


def _cell(table: str, carry: Any, sum0: int, out: int) -> dict[str, Any]:
    connections = {"A0": [2], "B0": [3], "C0": ["1"], "D0": ["0"], "CIN": [carry], "S0": [sum0], "COUT": [out]}
    return {"type": "CCU2C", "parameters": {"INIT0": table}, "connections": connections}


@pytest.mark.parametrize(
    ("table", "sum_is_used", "opened"),
    [(_ANEW, False, True), (_ANEW, True, False), (_PLAIN, False, False), (f"{0x0010:016b}", False, False)],
)
def test_first_carry_is_opened_where_nothing_depends_on_it(
    table: str, sum_is_used: bool, opened: bool, tmp_path: Path
) -> None:
    cells = {"first": _cell(table, "0", 10, 11), "second": _cell(_PLAIN, 11, 12, 13)}
    ports = {"o": {"bits": [12, 10] if sum_is_used else [12]}}
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": {"top": {"ports": ports, "cells": cells}}}))
    open_carry_ends(path)
    found = json.loads(path.read_text())["modules"]["top"]["cells"]
    assert found["first"]["connections"]["CIN"] == (["x"] if opened else ["0"])
    assert found["first"]["connections"]["COUT"] == found["second"]["connections"]["CIN"] == [11]
    assert found["second"]["connections"]["COUT"] == ["x"]
    assert [path.name for path in tmp_path.iterdir()] == ["netlist.json"]


def test_last_carry_that_is_used_stays(tmp_path: Path) -> None:
    path = tmp_path / "netlist.json"
    module = {"ports": {"o": {"bits": [11]}}, "cells": {"only": _cell(_PLAIN, 4, 10, 11)}}
    path.write_text(json.dumps({"modules": {"top": module}}))
    open_carry_ends(path)
    assert json.loads(path.read_text())["modules"]["top"] == module


def test_chains_take_no_cells_at_their_ends(tmp_path: Path) -> None:
    counter = create_counter("ecp5", lanes=4, weight_bits=1, act_bits=1, latency=1)
    source = tmp_path / "counter.v"
    source.write_text(emit_verilog(CellForm(counter, "ecp5"), name="counter")[0])
    synthesis = synthesize_verilog(source, top="counter", family="ecp5", folder=tmp_path)
    placed = place_netlist(synthesis, folder=tmp_path)
    # The two constants take a LUT each.
    assert placed.luts == synthesis.luts + 2
