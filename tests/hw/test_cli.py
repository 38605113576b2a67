"""The command line: what it prints, and one line for whatever is wrong."""

import json
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
        (["estimate", "missing.onnx"], "Invalid value for '[NETWORK]': File 'missing.onnx' does not exist."),
        (["estimate", "file"], "file"),
        (["estimate", str(network_path()), "--lanes", "2"], "--"),
        (
            ["estimate", str(network_path()), "--threshold-style", "requantize"],
            "fc1 has thresholds in channel 0 that no multiplier gives, as they are uneven or too far apart: generate "
            "it with --threshold-style bank, search or serial",
        ),
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


def test_generate_piecewise_blocks(tmp_path: Path) -> None:
    piecewise = ["--breakpoints", "1", "--piecewise", "decoded", "--rescale", "--lanes", "4", "--columns", "1"]
    for block, options in (("element", piecewise), ("combine", piecewise), ("combine", ["--breakpoints", "2"])):
        result = evenstep("generate", "--block", block, *options, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert f"evenstep-out/evenstep_{block}.v: " in result.stdout
        parameters = json.loads((tmp_path / "evenstep-out" / f"evenstep_{block}.json").read_text())["parameters"]
        assert parameters["breakpoints"] == int(options[1])
        assert parameters["piecewise"] == ("decoded" if "decoded" in options else "sums")
        assert parameters["rescale"] == ("--rescale" in options)


def test_estimate_lists_what_constants_cost(tmp_path: Path) -> None:
    result = evenstep("estimate", "--breakpoints", "1", "--rescale", "--constant-depth", "64", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    # Three factors, a multiplier and two words of bias for each channel.
    assert re.search(r"constants +│ +12,288 ", result.stdout)
    assert re.search(r"combiner +│ +\d,\d{3} │ +[\d,]+ ", result.stdout)
    assert "combiner" not in evenstep("estimate", cwd=tmp_path).stdout
    assert "with gowin counters is not estimated" in evenstep("estimate", "--counter", "gowin", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["--breakpoints", "4"], "Breakpoints must be an integer from 0 to 3, not 4", 1),
        (["--breakpoints", "-1"], "Breakpoints must be an integer from 0 to 3, not -1", 1),
        (["--breakpoints", "one"], "Invalid value for '--breakpoints': 'one' is not a valid integer.", 2),
        (
            ["--piecewise", "tables"],
            "Invalid value for '--piecewise': 'tables' is not one of 'sums', 'decoded'.",
            2,
        ),
        (
            ["--weight-bits", "1", "--breakpoints", "1"],
            "Weight bits must be at least 2 for piecewise linear weights, not 1: one is the sign",
            1,
        ),
        (
            ["--breakpoints", "2", "--piecewise", "decoded"],
            "Weight bits must be at least 3 to decode 2 breakpoints, not 2",
            1,
        ),
        (
            ["--breakpoints", "1", "--encoding", "symmetric"],
            "Encoding of an engine with breakpoints must be 'any', not 'symmetric'",
            1,
        ),
        (["--rescale", "yes"], "Got unexpected extra argument (yes)", 2),
        (["--rescale", "--constant-depth", "1"], "Constant depth must be an integer from 2 to 65536, not 1", 1),
        (
            ["--block", "combine"],
            "Combiner must have breakpoints that are not decoded, or rescale, not neither",
            1,
        ),
        (
            ["--block", "dot", "--breakpoints", "1"],
            "Breakpoints of a dot product must be 0, not 1: the block 'element' takes them",
            1,
        ),
    ],
)
def test_bad_piecewise_options_are_one_line(arguments: list[str], message: str, status: int, tmp_path: Path) -> None:
    result = evenstep("generate", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stderr, result.stdout) == (status, f"evenstep: {message}\n", "")
    assert list(tmp_path.iterdir()) == []


def test_core_commands_import_no_torch_and_no_simulator(tmp_path: Path) -> None:
    code = (
        "import sys, evenstep.generate.command, evenstep.estimate.command, evenstep.host, evenstep_golden.reference, "
        "evenstep_golden.sample; print({'torch', 'cocotb', 'matplotlib'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
