"""A small run of both benchmarks of piecewise linear hardware: they must still work; their figures are for people."""

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def output_of(name: str, cwd: Path) -> str:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick"]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_tables_and_picture(tmp_path: Path) -> None:
    """The comparison takes the elements that the first one has placed, and a second run has all it needs."""
    area = output_of("piecewise_area", tmp_path)
    for name in ("plain", "sums", "decoded", "masked", "passes"):
        assert re.search(rf"^ecp5 +2 +[-1] +{name} +\d+ +\d+ +\d+ +\d+\.\d ", area, re.MULTILINE), area
    comparison = output_of("piecewise", tmp_path)
    assert "ecp5 sums W=2" not in comparison and "ecp5 combine W=4" in comparison
    for row in ("uniform 3", "PWLQ 2, 1 bp, sums", "PWLQ 2, 1 bp, decoded"):
        assert re.search(rf"^{row} +3 +\d+\.\d\d +\d+\.\d\d +\d", comparison, re.MULTILINE), comparison
    picture = tmp_path / "piecewise-benchmark" / "piecewise.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = output_of("piecewise", tmp_path)
    assert again == comparison[-len(again) :], "Nothing is measured twice"
