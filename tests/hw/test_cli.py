"""The command line: what it prints, and one line for whatever is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evenstep_golden.sample import network_path


def evenstep(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from evenstep.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evenstep.cli", "evaluate", "nothing.onnx"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2
    assert result.stderr == "evenstep: Invalid value for 'NETWORK': File 'nothing.onnx' does not exist.\n"


def test_generate_then_estimate(tmp_path: Path) -> None:
    result = evenstep("generate", "--weight-bits", "2", "--act-bits", "2", "--block", "dot", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "evenstep-out" / "evenstep_dot.v").exists()
    result = evenstep("estimate", str(network_path()), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"7,447 cycles a run", result.stdout)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["generate", "--weight-bits", "0"], "Weight bits must be an integer from 1 to 8, not 0"),
        (["generate", "--act-bits", "9"], "Activation bits must be an integer from 1 to 8, not 9"),
        (["generate", "--weight-bits", "two"], "Invalid value for '--weight-bits': 'two' is not a valid integer."),
        (["generate", "--lanes", "0"], "Lanes must be an integer from 1 to 1024, not 0"),
        (["generate", "--columns", "-1"], "Columns must be an integer from 1 to 256, not -1"),
        (["generate", "--name", "a b"], "Module name must be a Verilog identifier, not 'a b'"),
        (["generate", "--preset", "huge"], "Invalid value for '--preset': 'huge' is not one of"),
        (["generate", "--block", "dot", "--output", "file/x"], "file/x: Not a directory"),
        (["estimate", "missing.onnx"], "missing.onnx: No such file or directory"),
        (["estimate", "file"], "file"),
        (["estimate", str(network_path()), "--lanes", "2"], "--"),
        (["simulate", "missing.json"], "missing.json"),
        (["frobnicate"], "No such command 'frobnicate'."),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("nothing of ours")
    result = evenstep(*arguments, cwd=tmp_path)
    assert result.returncode != 0
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("evenstep: ")
    assert message in lines[0]
    assert "Traceback" not in result.stdout + result.stderr


def test_core_commands_import_no_torch_and_no_simulator(tmp_path: Path) -> None:
    code = (
        "import sys, evenstep.generate.command, evenstep.estimate.command, evenstep.host, evenstep_golden.reference, "
        "evenstep_golden.sample; print({'torch', 'cocotb', 'matplotlib'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
