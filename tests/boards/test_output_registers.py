"""Which flip-flops become output registers of ECP5's block RAMs, and that these still read the same."""

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

SOURCE = """
module {name} (
    input clk, enable, other, write, input [{top}:0] from, to, input [{last}:0] data, output reg [{last}:0] word,
    output [{last}:0] early
);
    (* ram_style = "block", no_rw_check *) reg [{last}:0] memory [0:{words}-1];
    reg [{last}:0] read;
    integer n;
    initial for (n = 0; n < {words}; n = n + 1) memory[n] = n * 7919;
    always @(posedge clk) begin
        if (write) memory[to] <= data;
        if (enable) read <= memory[from];
        if ({enable}) word <= read;
    end
    assign early = {early};
endmodule
"""

BENCH = """
module bench;
    reg clk = 0, enable, write;
    reg [{top}:0] from, to;
    reg [{last}:0] data;
    wire [{last}:0] expected, found;
    source source (clk, enable, 1'b0, write, from, to, data, expected, );
    mapped mapped (clk, enable, 1'b0, write, from, to, data, found, );
    integer n, waited = 0;
    initial begin
        for (n = 0; n < 3000; n = n + 1) begin
            from = $random;
            to = $random;
            data = $random;
            enable = n < 3 | $random;
            write = $random;
            // What is read of a word while it is written is not defined.
            if (from == to) write = 0;
            waited = waited + !enable;
            #1 clk = 1;
            #1 clk = 0;
            if (n > 2 && found !== expected) begin
                $display("differs at %0d: %h, not %h", n, found, expected);
                $finish;
            end
        end
        if (waited > 1000) $display("equal");
        $finish;
    end
endmodule
"""


def _synthesize(folder: Path, *, width: int, enable: str = "enable", early: str = "0") -> tuple[int, list[Any]]:
    """Flip-flops that are left, and the block RAMs."""
    words = 512 if width == 36 else 1024
    sizes = {"last": width - 1, "words": words, "top": words.bit_length() - 2}
    for name in ("source", "mapped"):
        (folder / f"{name}.v").write_text(SOURCE.format(name=name, enable=enable, early=early, **sizes))
    synthesis = synthesize_verilog(folder / "mapped.v", top="mapped", family="ecp5", folder=folder)
    (folder / "bench.v").write_text(BENCH.format(**sizes))
    cells = json.loads(synthesis.cells.read_text())["modules"]["mapped"]["cells"].values()
    assert sum(cell["type"] == "TRELLIS_FF" for cell in cells) == synthesis.flip_flops
    return synthesis.flip_flops, [cell for cell in cells if cell["type"] == "DP16KD"]


@pytest.mark.parametrize(("width", "registered"), [(36, "AB"), (18, "B"), (20, "B")])
def test_register_behind_a_memory_moves_into_it(width: int, registered: str, tmp_path: Path) -> None:
    left, rams = _synthesize(tmp_path, width=width)
    assert left == 0 and len(rams) == -(-width // 18) - (width == 36)
    for ram in rams:
        assert [half for half in "AB" if ram["parameters"][f"REGMODE_{half}"] == "OUTREG"] == list(registered)

    script = f"read_json {tmp_path.name}.json; write_verilog -noattr mapped.v"
    shutil.copyfile(tmp_path / "mapped_ecp5.cells", tmp_path / f"{tmp_path.name}.json")
    run_tool(find_tool("yosys"), ["-q", "-p", script], folder=tmp_path, doing="convert", log=tmp_path / "log")
    iverilog = shutil.which("iverilog")
    assert iverilog is not None, "apt-get install iverilog"
    files = ["bench.v", "source.v", "mapped.v", *(str(MODELS / model) for model in ECP5.models if model != "pins.v")]
    subprocess.run([iverilog, "-g2012", "-o", "bench", "-s", "bench", *files], cwd=tmp_path, check=True)
    done = subprocess.run(["vvp", "-n", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "equal"


@pytest.mark.parametrize("changes", [{"enable": "enable & other"}, {"early": "read"}])
def test_register_stays_where_it_is_another(changes: dict[str, str], tmp_path: Path) -> None:
    """One that holds its word for longer, and one beside which the memory itself is looked at."""
    left, rams = _synthesize(tmp_path, width=18, **changes)
    assert left == 18
    assert all(ram["parameters"][f"REGMODE_{half}"] == "NOREG" for ram in rams for half in "AB")
