"""Tools of a build that take no time: Yosys, nextpnr and icepack as shell scripts, for what is not about a design."""

import json
import os
from pathlib import Path

import pytest

from evenstep_boards.catalog import BOARDS

__all__ = ["fake_tools"]

# It logs its arguments. $2 is the seed, if asked for one.
_NEXTPNR = """#!/bin/sh
case "$*" in *--version*) echo nextpnr-0.9; exit;; esac
echo "$@" >> {log}
{script}
cat {reports}/$2.json > report.json
"""


def fake_tools(folder: Path, monkeypatch: pytest.MonkeyPatch, *, fmax: dict[int, float], script: str = "true") -> Path:
    """Put tools for the iCEBreaker into `folder`, and in front of the PATH; the file that names each run of nextpnr.

    `fmax` is what nextpnr reports for each seed, MHz; `script` what it does before.
    """
    folder.mkdir()
    cells = {cell: {"used": 1, "available": 2} for cell in BOARDS["icebreaker"].cells.values()}
    for seed, achieved in fmax.items():
        clocks = {"clk": {"achieved": achieved, "constraint": 21.0}}
        report = {"fmax": clocks, "critical_paths": [], "utilization": cells}
        (folder / f"{seed}.json").write_text(json.dumps(report))
    for name, content in {
        "yosys": "#!/bin/sh\ncase $1 in --version) echo 'Yosys 0.70';; *) touch top.json;; esac\n",
        "nextpnr-ice40": _NEXTPNR.format(log=folder / "log", script=script, reports=folder),
        "icepack": "#!/bin/sh\npwd > top.bin\n",
    }.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder / "log"
