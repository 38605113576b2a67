"""A small run of each benchmark of the golden model: it must still work; its figures are for people."""

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def output_of(name: str, *arguments: str, cwd: Path) -> str:
    """What a benchmark prints. Small runs may miss their goals, which the exit status tells."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900)
    assert result.returncode in (0, 1) and not result.stderr, result.stderr
    return result.stdout


def test_accuracy_prints_its_table(tmp_path: Path) -> None:
    output = output_of("accuracy", "--seeds", "0", "--epochs", "1", cwd=tmp_path)
    assert re.search(r"^ *0 +\d\d\.\d\d +\d\d\.\d\d ", output, re.MULTILINE), output


def test_quantizer_speed_prints_its_table(tmp_path: Path) -> None:
    output = output_of("quantizer_speed", "--repeats", "1", "--shape", "2", "3", "8", "8", cwd=tmp_path)
    for name in ("N2UQ 2", "N2UQ 3", "N2UQ 4", "LSQ"):
        assert name in output


def test_pwlq_search_prints_its_table(tmp_path: Path) -> None:
    assert "50 plain, ms" in output_of("pwlq_search", "--weights", "5000", "--runs", "1", cwd=tmp_path)


def test_quantizers_prints_its_tables_and_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments = ["--seeds", "0", "--float-epochs", "1", "--epochs", "1", "--images", "256", "--tests", "100"]
    output = output_of("quantizers", *arguments, cwd=tmp_path)
    assert "ablation at 2/2" in output and "N2UQ > LSQ at 2/2" in output
    again = output_of("quantizers", *arguments, cwd=tmp_path)
    assert again.partition("top-1 in")[2] == output.partition("top-1 in")[2]
    assert "LSQ 2/2 seed 0" not in again.partition("top-1 in")[0]  # nothing was trained again


def test_post_training_prints_its_table(tmp_path: Path) -> None:
    arguments = ["--epochs", "1", "--images", "512", "--adaround", "5", "--bits", "4", "--tests", "200"]
    output = output_of("post_training", *arguments, "--calibration", "64", cwd=tmp_path)
    for name in ("uniform", "PWLQ 1", "PWLQ 2", "PWLQ 3"):
        assert re.search(rf"^{name} +4 +\d( +\d+\.\d\d){{8}} +\d+$", output, re.MULTILINE), output


def test_piecewise_accuracy_prints_its_tables_and_measures_nothing_twice(tmp_path: Path) -> None:
    output = output_of("piecewise_accuracy", "--quick", cwd=tmp_path)
    assert re.search(r"^ *3 +1( +\d\.\d{3}){8}$", output, re.MULTILINE), output
    for method in ("uniform:3", "pwlq:3,breakpoints=1", "pwlq:3,breakpoints=1,aligned=True"):
        assert re.search(rf"^{method} +\d( +\d+\.\d\d){{4}}$", output, re.MULTILINE), output
    assert "torch and the integer reference: the same" in output
    assert "cnn, uniform:3: " in output
    again = output_of("piecewise_accuracy", "--quick", cwd=tmp_path)
    assert again.partition("\n\n")[2] == output.partition("\n\n")[2]
    assert "cnn, uniform:3: " not in again
