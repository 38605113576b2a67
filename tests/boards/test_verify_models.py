"""Our models of block RAM, beside memories that Yosys makes of them: every width, and what they hold first."""

import random
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from evenstep_boards.toolchain import find_tool, run_tool
from evenstep_boards.verify.design import MODELS
from evenstep_boards.verify.ecp5 import ECP5
from evenstep_boards.verify.gowin import GOWIN

# Synthesis up to its block RAMs, the kinds that it makes, and widths of a word and words: each of these Yosys gives a
# mode of its own.
FAMILIES = {
    "ecp5": (
        "synth_ecp5 -no-rw-check -noflatten -run begin:map_ffs",
        ["DP16KD"],
        [(1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512)],
    ),
    "gowin": (
        "synth_gowin -no-rw-check -noflatten -noiopads -run begin:map_ffs",
        ["DPB", "DPX9B", "SDPX9B"],
        [(1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512)],
    ),
}
CASES = [(family, *memory) for family, (_, _, memories) in FAMILIES.items() for memory in memories]

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
            read = n < 2 | $random;
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
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder with a family's memories: their source, and what Yosys makes of it."""
    return cache(lambda family: map_memories(family, tmp_path_factory.mktemp(family)))


def map_memories(family: str, folder: Path) -> Path:
    synthesis, kinds, memories = FAMILIES[family]
    for kind in ("source", "mapped"):
        modules = [SOURCE.format(kind=kind, **parts(*memory)) for memory in memories]
        (folder / f"{kind}.v").write_text("".join(modules))
    for width, words in memories:
        rng = random.Random(width)
        content = [f"{rng.getrandbits(width):x}\n" for _ in range(words)]
        (folder / f"content{width}.hex").write_text("".join(content))
    # What is read of a word while it is written does not matter, in a build neither.
    every = "; ".join(f"mapped{width} memory{width} ()" for width, _ in memories)
    with (folder / "mapped.v").open("a") as file:
        file.write(f"(* keep_hierarchy *) module every; {every}; endmodule\n")
    script = "read_verilog mapped.v; setattr -mod -set keep_hierarchy 1 *; setattr -set keep 1 every/t:*; "
    rams = " ".join(f"t:{kind}" for kind in kinds)
    script += f"{synthesis} -top every; opt_clean; delete t:$scopeinfo; "
    script += f"select -assert-none t:$dff* t:$mem*; select -assert-count {len(memories)} {rams}; "
    script += "".join(f"select -assert-any t:{kind}; " for kind in kinds)
    script += "delete every; write_verilog -noattr mapped.v"
    run_tool(find_tool("yosys"), ["-q", "-p", script], folder=folder, doing="map memories", log=folder / "yosys.log")
    return folder


@pytest.mark.parametrize(("family", "width", "words"), CASES)
def test_block_ram(family: str, width: int, words: int, mapped: Callable[[str], Path]) -> None:
    folder = mapped(family)
    (folder / f"bench{width}.v").write_text(BENCH.format(**parts(width, words)))
    iverilog = shutil.which("iverilog")
    assert iverilog is not None, "apt-get install iverilog"
    models = {"ecp5": ECP5, "gowin": GOWIN}[family].models
    files = [f"bench{width}.v", "source.v", "mapped.v", *(str(MODELS / model) for model in models)]
    program = f"bench{width}.vvp"
    subprocess.run([iverilog, "-g2012", "-s", "bench", "-o", program, *files], cwd=folder, check=True)
    told = subprocess.run(["vvp", "-n", program], cwd=folder, check=True, capture_output=True, text=True).stdout
    assert told.splitlines()[-1] == "equal 3000", told
