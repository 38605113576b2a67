"""Our model of the ECP5's block RAM, beside memories that Yosys makes of it: every width, and what it holds first."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from evenstep_boards.toolchain import Processes, find_tool
from evenstep_boards.verify.design import MODELS

# Widths of a word, and words: each of these Yosys gives a mode of its own.
MEMORIES = [(1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512)]

SOURCE = """
module {kind}{width} (
    input clk, read, write, input [{top}:0] from, to, input [{last}:0] data, output reg [{last}:0] word
);
    (* ram_style = "block" *) reg [{last}:0] memory [0:{words}-1];
    initial $readmemh("content{width}.hex", memory);
    always @(posedge clk) begin
        if (write) memory[to] <= data;
        if (read) word <= memory[from];
    end
endmodule
"""

BENCH = """
module bench;
    reg clk = 0, read, write;
    reg [{top}:0] from, to;
    reg [{last}:0] data;
    wire [{last}:0] expected, found;
    source{width} source (clk, read, write, from, to, data, expected);
    mapped{width} mapped (clk, read, write, from, to, data, found);
    integer n, compared = 0;
    initial begin
        for (n = 0; n < 3000; n = n + 1) begin
            // Neighbours, for what shares a word of the RAM; and all of it.
            from = n % 3 ? $random & 63 : $random;
            to = n % 3 ? $random & 63 : $random;
            data = $random;
            read = n < 2 || $random;
            write = $random;
            // What is read of a word while it is written is not defined.
            if (from == to) write = 0;
            #1 clk = 1;
            #1 clk = 0;
            if (found !== expected) begin
                $display("differs at %0d: %h, not %h", n, found, expected);
                $finish;
            end
            compared = compared + 1;
        end
        $display("equal %0d", compared);
        $finish;
    end
endmodule
"""


def parts(width: int, words: int) -> dict[str, int]:
    return {"width": width, "top": (words - 1).bit_length() - 1, "last": width - 1, "words": words}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the memories' source, and what Yosys makes of it."""
    folder = tmp_path_factory.mktemp("memories")
    for kind in ("source", "mapped"):
        modules = [SOURCE.format(kind=kind, **parts(*memory)) for memory in MEMORIES]
        (folder / f"{kind}.v").write_text("".join(modules))
    for width, words in MEMORIES:
        rng = random.Random(width)
        content = [f"{rng.getrandbits(width):x}\n" for _ in range(words)]
        (folder / f"content{width}.hex").write_text("".join(content))
    # What is read of a word while it is written does not matter, in a build neither.
    every = "; ".join(f"mapped{width} memory{width} ()" for width, _ in MEMORIES)
    with (folder / "mapped.v").open("a") as file:
        file.write(f"(* keep_hierarchy *) module every; {every}; endmodule\n")
    script = "read_verilog mapped.v; setattr -mod -set keep_hierarchy 1 *; setattr -set keep 1 every/t:*; "
    script += "synth_ecp5 -no-rw-check -noflatten -top every -run begin:map_ffs; opt_clean; delete t:$scopeinfo; "
    script += f"select -assert-count {len(MEMORIES)} mapped*/t:*; select -assert-count {len(MEMORIES)} t:DP16KD; "
    with Processes() as processes:
        arguments = ["-q", "-p", f"{script} delete every; write_verilog -noattr mapped.v"]
        done = processes.run(find_tool("yosys"), arguments, folder=folder, output=folder / "yosys.log")
    assert done, (folder / "yosys.log").read_text()
    return folder


@pytest.mark.parametrize(("width", "words"), MEMORIES)
def test_block_ram(width: int, words: int, mapped: Path) -> None:
    (mapped / f"bench{width}.v").write_text(BENCH.format(**parts(width, words)))
    iverilog = shutil.which("iverilog")
    assert iverilog is not None, "apt-get install iverilog"
    files = [f"bench{width}.v", "source.v", "mapped.v", str(MODELS / "ecp5.v")]
    program = f"bench{width}.vvp"
    subprocess.run([iverilog, "-g2012", "-s", "bench", "-o", program, *files], cwd=mapped, check=True)
    told = subprocess.run(["vvp", "-n", program], cwd=mapped, check=True, capture_output=True, text=True).stdout
    assert told.splitlines()[-1] == "equal 3000", told
