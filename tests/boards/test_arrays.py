"""A small run of the benchmark of arrays: carry chains fed from block RAM, and its page."""

import re
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "arrays.py"


def _run(cwd: Path, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARK), "--quick", "--structures", "ecp5", *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_table_and_page(tmp_path: Path) -> None:
    printed = _run(tmp_path)
    # Four block RAMs, and 6 cycles to the first column: operands twice, one stage, accumulators, and two of selection.
    found = re.search(r"^ +2 x 2 x 4 +1 x 1 +ecp5 +6 +(\d+) +\d+ +4 +(\d+) ", printed, re.MULTILINE)
    assert found, printed
    # Six elements, those of activation sums included, of 22 LUTs at most, and fewer than 10 a column bit for the rest.
    assert int(found[1]) < 6 * 22 + 2 * 2 * 10 and int(found[2]) > 100
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin of measured arrays -->\nold\n<!-- end of measured arrays -->\nafter\n")
    assert _run(tmp_path, "--document", "page.md").splitlines() == printed.splitlines()[1:], "Nothing is measured twice"
    text = page.read_text()
    assert text.startswith("before\n<!-- begin") and text.endswith("end of measured arrays -->\nafter\n")
    assert f"| 2 x 2 x 4 | 1 x 1 | ecp5 | 6 | {found[1]} |" in text and "old" not in text
