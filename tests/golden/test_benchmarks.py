"""A small run of each benchmark of the golden model: it must still work; its figures are for people."""

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_accuracy_prints_its_table(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "accuracy.py"), "--seeds", "0", "--epochs", "1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    # One epoch is too short for the goal, which the exit status tells.
    assert result.returncode in (0, 1), result.stderr
    assert re.search(r"^ *0 +\d\d\.\d\d +\d\d\.\d\d ", result.stdout, re.MULTILINE), result.stdout
