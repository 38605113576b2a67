"""What Yosys writes, made fit for linters and readers."""

import re

__all__ = ["clear_by_loops", "tidy"]

# Yosys names its version in the first line; the generator's own header stands there instead.
_YOSYS_HEADER = re.compile(r"\A/\*.*?\*/\n", re.DOTALL)
# What clears a memory, before Yosys reads it: it would write a line for every word, nine tenths of an engine's text,
# and take minutes for a million. Memories that are left without initial content are cleared by a loop instead.
_ZERO_CELL = re.compile(
    r"(?:  attribute [^\n]*\n)*  cell \$meminit_v2 [^\n]*\n"
    r"(?:    [^\n]*\n)*?    connect \\DATA \d+'0+\n(?:    [^\n]*\n)*  end\n"
)
_CLEARED = re.compile(r"(  reg (?:\[\d+:0\] )?(\\?\S+ ?) ?\[(\d+):0\];\n)(?!  initial)")
# The style of generated text, not of a design: operands extend and cut by the rules of the language, hierarchy leaves
# aliases that nobody reads, registers have initial values, and all modules share a file.
_LINT = ("WIDTHEXPAND", "WIDTHTRUNC", "UNUSEDSIGNAL", "PROCASSINIT", "DECLFILENAME", "VARHIDDEN")


def clear_by_loops(rtlil: str) -> str:
    """RTLIL for Yosys without the words of memories that hold nothing but 0, which `tidy` clears."""
    return _ZERO_CELL.sub("", rtlil)


def tidy(text: str) -> str:
    """Verilog of Yosys with the same meaning, without warnings from `verilator --lint-only -Wall`, and shorter.

    Memories without initial content are cleared, since `clear_by_loops` has taken that from them.
    """
    text = _CLEARED.sub(_zero_loop, _YOSYS_HEADER.sub("", text))
    text = "\n".join(_complete_cases(text.splitlines())) + "\n"
    return "".join(f"/* verilator lint_off {rule} */\n" for rule in _LINT) + text


def _zero_loop(match: re.Match[str]) -> str:
    memory, words = match[2], int(match[3]) + 1
    if not memory.startswith("\\"):
        memory = memory.strip()
    index = f"{memory.strip().strip(chr(92)).replace('$', '_')}_word"
    return (
        f"{match[1]}  integer {index};\n  initial\n    for ({index} = 0; {index} < {words}; {index} = {index} + 1)\n"
        f"      {memory}[{index}] = 0;\n"
    )


def _complete_cases(lines: list[str]) -> list[str]:
    """Add an empty default to every case that has none; what it would assign is assigned before the case."""
    result: list[str] = []
    has_default: list[bool] = []
    for line in lines:
        word = line.lstrip()
        if word.startswith(("casez (", "case (")):
            has_default.append(False)
        elif word.startswith("default:"):
            has_default[-1] = True
        elif word == "endcase" and not has_default.pop():
            result.append(line.replace("endcase", "  default: ;"))
        result.append(line)
    return result
