"""Tools of a build that take no time: Yosys, nextpnr and a packer as shell scripts, for what is not about a design."""

import json
import os
from pathlib import Path

import pytest

from evenstep_boards.catalog import BOARDS

__all__ = ["fake_tools"]

# A netlist is called by either name, and holds it. Amaranth asks for -V, and takes its own Yosys.
_YOSYS = """#!/bin/sh
case $1 in --version) echo 'Yosys 0.70'; exit;; -V) exit;; esac
for name in top.json top.syn.json; do echo $name > $name; done
"""
# It logs its arguments. $2 is the seed, if asked for one.
_NEXTPNR = """#!/bin/sh
case "$*" in *--version*) echo nextpnr-0.9; exit;; esac
echo "$@" >> {log}
{script}
cat {reports}/$2.json > report.json
"""


def fake_tools(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fmax: dict[int, float],
    script: str = "true",
    name: str = "icebreaker",
) -> Path:
    """Put tools for a board into `folder`, and in front of the PATH; the file that names each run of nextpnr.

    `fmax` is what nextpnr reports for each seed, MHz; `script` what it does before.
    """
    folder.mkdir()
    board = BOARDS[name]
    cells = {cell: {"used": 1, "available": 2} for cell in board.cells.values()}
    for seed, achieved in fmax.items():
        clocks = {"clk": {"achieved": achieved, "constraint": board.clock_hz / 1e6}}
        report = {"fmax": clocks, "critical_paths": [], "utilization": cells}
        (folder / f"{seed}.json").write_text(json.dumps(report))
    contents = [
        _YOSYS,
        _NEXTPNR.format(log=folder / "log", script=script, reports=folder),
        f"#!/bin/sh\npwd > top.{board.bitstream}\n",
    ]
    for tool, content in zip(board.platform().required_tools, contents, strict=True):
        (folder / tool).write_text(content)
        (folder / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder / "log"
