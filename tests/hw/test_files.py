"""Files that commands write: never in the place of what they read, nor two in one place."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evenstep.compiler import compile_network
from evenstep.compiler.command import compile_command
from evenstep.compiler.file import write_program
from evenstep.files import check_outputs
from evenstep.generate import generate_block
from evenstep.qonnx import write_network
from evenstep.spec import Dense, Encoding, Geometry, Network

GEOMETRY = Geometry(columns=1, lanes=4, port_bits=32, weight_depth=64, act_depth=1024, result_depth=64)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A network, and the engine that its weights stream into."""
    write_network(network(), tmp_path / "net.onnx")
    write_network(network(), tmp_path / "net.bin")
    generate_block("axi-engine", GEOMETRY, tmp_path, name="engine")
    generate_block("dot", GEOMETRY, tmp_path, name="dot")
    return tmp_path


def network() -> Network:
    codes = np.random.default_rng(1).integers(0, 4, (4, 100))
    return Network((Dense("layer1", codes, Encoding("twos-complement", 2), 2),))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["net.onnx", "engine.json", "--output", "net.onnx"],
            "Program file must be another file than the network",
        ),
        (
            ["net.onnx", "engine.json", "--output", "engine.json"],
            "Program file must be another file than the manifest",
        ),
        (
            ["net.onnx", "engine.json", "--output", "p.bin"],
            "File of weights must be another file than the program",
        ),
        (
            ["net.bin", "engine.json", "--output", "net.json"],
            "File of weights must be another file than the network",
        ),
        (["net.onnx", "dot.json"], "Manifest must be that of an engine, not of the block 'dot'"),
    ],
)
def test_program_takes_the_place_of_nothing(
    arguments: list[str], message: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in files.iterdir()}
    monkeypatch.chdir(files)
    result = CliRunner().invoke(compile_command, arguments)
    assert isinstance(result.exception, ValueError) and str(result.exception).startswith(message)
    assert {path: path.read_bytes() for path in files.iterdir()} == before


def test_program_file_is_not_that_of_its_weights(tmp_path: Path) -> None:
    program = compile_network(network(), GEOMETRY)
    with pytest.raises(ValueError, match=r"\AProgram file must be another file than the file of weights, not "):
        write_program(program, tmp_path / "program.bin")
    assert not any(tmp_path.iterdir())


def test_paths_of_one_file_are_told(tmp_path: Path) -> None:
    """By where they lead; what is not wanted is in nobody's way."""
    (tmp_path / "link").symlink_to(tmp_path / "net.onnx")
    check_outputs({"Table": None, "Picture": tmp_path / "a"}, {"network": tmp_path / "net.onnx"})
    with pytest.raises(ValueError, match=r"\ATable must be another file than the network, not .*link\Z"):
        check_outputs({"Table": tmp_path / "link"}, {"network": tmp_path / "net.onnx"})
    with pytest.raises(ValueError, match=r"\AJSON file must be another file than the CSV file, not .*\Z"):
        check_outputs({"CSV file": tmp_path / "a", "JSON file": tmp_path / "b" / ".." / "a"}, {})
