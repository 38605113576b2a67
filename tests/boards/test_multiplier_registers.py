"""Which flip-flops become registers of ECP5's multipliers, and that products are the same."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from evenstep_boards.synthesize import synthesize_verilog
from evenstep_boards.toolchain import find_tool, run_tool
from evenstep_boards.verify.design import MODELS
from evenstep_boards.verify.ecp5 import ECP5
from tests.ecp5_models import write_models

SOURCE = """
module {name} (
    input clk, enable, other, input signed [{width}-1:0] left, right, output reg signed [2*{width}-1:0] product,
    output reg [{width}-1:0] seen
);
    reg signed [{width}-1:0] a, b;
    reg [{width}-1:0] waiting;
    always @(posedge clk) begin
        if (enable) a <= left;
        if ({second}) b <= right;
        if ({third}) product <= {factor} * b;
        waiting <= a;
        seen <= {seen};
    end
endmodule
"""

BENCH = """
module bench;
    reg clk = 0, enable, other;
    reg signed [{width}-1:0] left, right;
    wire [2*{width}-1:0] expected, found;
    wire [{width}-1:0] expected_beside, found_beside;
    source source (clk, enable, other, left, right, expected, expected_beside);
    mapped mapped (clk, enable, other, left, right, found, found_beside);
    integer n, compared = 0;
    initial begin
        for (n = 0; n < 3000; n = n + 1) begin
            left = $random;
            right = $random;
            enable = n < 3 | $random;
            other = n < 3 | $random;
            #1 clk = 1;
            #1 clk = 0;
            if (n > 2 && (found !== expected || found_beside !== expected_beside)) begin
                $display("differs at %0d: %h, not %h", n, found, expected);
                $finish;
            end
            compared = compared + (found != 0);
        end
        if (compared > 1000) $display("equal");
        $finish;
    end
endmodule
"""

PLAIN = {"second": "enable", "third": "enable", "factor": "a", "seen": "0"}


def _synthesize(folder: Path, width: int, changes: dict[str, str]) -> tuple[int, list[Any]]:
    """Flip-flops that are left, and the multipliers; folder gets ``source.v`` and what became of it, ``mapped.v``."""
    for name in ("source", "mapped"):
        (folder / f"{name}.v").write_text(SOURCE.format(name=name, width=width, **{**PLAIN, **changes}))
    synthesis = synthesize_verilog(folder / "mapped.v", top="mapped", family="ecp5", folder=folder, dsps=True)
    cells = json.loads(synthesis.cells.read_text())["modules"]["mapped"]["cells"].values()
    assert sum(cell["type"] == "TRELLIS_FF" for cell in cells) == synthesis.flip_flops
    script = "read_json mapped.json; write_verilog -noattr mapped.v"
    shutil.copyfile(synthesis.cells, folder / "mapped.json")
    run_tool(find_tool("yosys"), ["-q", "-p", script], folder=folder, doing="convert", log=folder / "log")
    return synthesis.flip_flops, [cell for cell in cells if cell["type"] == "MULT18X18D"]


def _simulate(folder: Path, width: int) -> str:
    (folder / "bench.v").write_text(BENCH.format(width=width))
    iverilog = shutil.which("iverilog")
    assert iverilog is not None, "apt-get install iverilog"
    models = [str(MODELS / model) for model in ECP5.models if model != "pins.v"]
    write_models(folder / "models.v")
    files = ["bench.v", "source.v", "mapped.v", "models.v", *models]
    subprocess.run([iverilog, "-g2012", "-o", "bench", "-s", "bench", *files], cwd=folder, check=True)
    done = subprocess.run(["vvp", "-n", "bench"], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


_BOTH = {"INPUTA", "INPUTB", "OUTPUT"}


@pytest.mark.parametrize(
    ("width", "changes", "registers", "left"),
    [
        (18, {}, _BOTH, 0),
        (11, {}, _BOTH, 0),
        # Enables of their own.
        (18, {"second": "other", "third": "1"}, _BOTH, 0),
        # An operand that is looked at beside the multiplier: its register stays too.
        (18, {"seen": "waiting"}, _BOTH, 18 + 18 + 18),
        # An operand without a register, and one whose register is not the last thing in front.
        (18, {"factor": "left"}, {"OUTPUT"}, 18),
        (18, {"factor": "($signed(waiting) ^ a)"}, {"OUTPUT"}, 18 + 18 + 18),
        (18, {"third": "1", "factor": "b"}, _BOTH, 0),
    ],
)
def test_registers_beside_a_multiplier_move_into_it(
    width: int, changes: dict[str, str], registers: set[str], left: int, tmp_path: Path
) -> None:
    found, (multiplier,) = _synthesize(tmp_path, width, changes)
    used = {place for place in _BOTH if multiplier["parameters"].get(f"REG_{place}_CLK") == "CLK0"}
    assert (used, found) == (registers, left)
    assert _simulate(tmp_path, width) == "equal"


def test_register_that_is_reset_stays(tmp_path: Path) -> None:
    found, (multiplier,) = _synthesize(tmp_path, 18, {"factor": "(other ? 18'sd0 : a)"})
    assert "REG_INPUTA_CLK" not in multiplier["parameters"] and found >= 18
    assert _simulate(tmp_path, 18) == "equal"
