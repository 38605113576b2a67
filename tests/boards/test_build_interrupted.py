"""Builds that end early: interrupted, or on a full disk. What was built before stays, and nothing else is left."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from evenstep_boards import build as build_module
from evenstep_boards.build import read_build
from evenstep_boards.catalog import BOARDS
from evenstep_boards.commands.build import build
from tests.boards.fake_tools import fake_tools

COMMAND = [sys.executable, "-c", "from evenstep.cli import main; main()", "build", "icebreaker"]
CHANGES = ["rows=1", "columns=1", "lanes=4", "weight_depth=64", "act_depth=64", "threshold_depth=64", "result_depth=16"]
SMALL = [option for change in CHANGES for option in ("--with", change)]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with a good build, as far as a later one is concerned: of other content."""
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "icebreaker.bin").write_bytes(b"the last good one")
    sha256 = hashlib.sha256(b"the last good one").hexdigest()
    part = {"bitstream_sha256": sha256, "record": None, "verify": None, "key": "other"}
    (folder / "icebreaker.json").write_text(json.dumps({"board": part}))
    (folder / "icebreaker.report.json").write_text(json.dumps({"key": "other"}))
    read_build(BOARDS["icebreaker"], folder)
    return folder


def files(folder: Path) -> dict[str, str]:
    """Content of a folder but for the log, as hashes."""
    paths = [path for path in sorted(folder.iterdir()) if path.suffix != ".log"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def runs(pid: int) -> bool:
    """Whether a process does anything yet: one that nobody waits for stays as a zombie where nobody adopts it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def obeys_signals() -> None:
    """In a child, before its program: what the tests themselves may be told to ignore, as by nohup, counts again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("stage", "how"),
    [("synthesize.log", signal.SIGTERM), ("synthesize.log", signal.SIGHUP), ("seed1/route.log", signal.SIGINT)],
    ids=["term", "hup", "int"],
)
def test_interrupt(stage: str, how: signal.Signals, kept: Path) -> None:
    """Ctrl-C, kill and a closed terminal end the tools too, and leave the folder as it was."""
    before = files(kept)
    process = subprocess.Popen(
        [*COMMAND, *SMALL, "--output", str(kept)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=obeys_signals,
    )
    try:
        deadline = time.monotonic() + 120
        while not (list(kept.glob(f".build-*/{stage}")) and (tools := children(process.pid))):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(how)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    # A line of its own, behind the ^C that a terminal shows.
    assert process.returncode == 130 and errors.strip() == "evenstep: Interrupted; nothing is left half written"
    assert not any(Path(f"/proc/{tool}").exists() for tool in tools)
    assert files(kept) == before
    read_build(BOARDS["icebreaker"], kept)


# Files may become this large: less than the design, and less than its netlist.
def test_what_a_tool_starts_ends_with_it(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool on the PATH may be a script that starts another program."""
    started = tmp_path / "started"
    fake_tools(tmp_path / "tools", monkeypatch, fmax={}, script=f"sleep 300 & echo $! > {started}; wait")
    process = subprocess.Popen([*COMMAND, *SMALL, "--output", str(kept)], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 120
        while not (started.exists() and started.read_text().endswith("\n")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while runs(int(started.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("limit", [20_000, 600_000])
def test_disk_that_fills(limit: int, kept: Path) -> None:
    """A file that cannot be written whole ends the build in one line."""
    before = files(kept)
    result = subprocess.run(
        [*COMMAND, *SMALL, "--output", str(kept)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 1, (result.stdout, result.stderr)
    assert result.stderr.startswith("evenstep: ") and len(result.stderr.splitlines()) == 1, result.stderr
    assert files(kept) == before
    read_build(BOARDS["icebreaker"], kept)


def test_end_between_the_moves(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the machine itself, before any of them: no build is there; never files of two that are taken for one."""
    fake_tools(tmp_path / "tools", monkeypatch, fmax={1: 40.0})
    move, ended = os.replace, []

    def copy_and_move(source: Path, target: Path) -> None:
        if Path(target).parent == kept and Path(source).parent.name == "products":
            ended.append(Path(shutil.copytree(kept, tmp_path / f"ended{len(ended)}")))
        move(source, target)

    monkeypatch.setattr(build_module.os, "replace", copy_and_move)
    assert CliRunner().invoke(build, ["icebreaker", *SMALL, "--output", str(kept)]).exit_code == 0
    assert read_build(BOARDS["icebreaker"], kept)[1]["key"] != "other"
    assert len(ended) == 6, "each product is moved"
    for folder in ended:
        with pytest.raises(ValueError, match=r"^There is no bitstream of iCEBreaker in .*: run evenstep build "):
            read_build(BOARDS["icebreaker"], folder)


def test_interrupt_between_the_moves(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits until all are done: what is there is the new build."""
    fake_tools(tmp_path / "tools", monkeypatch, fmax={1: 40.0})
    move = os.replace
    interrupted = []

    def interrupt(source: Path, target: Path) -> None:
        if Path(source).parent.name == "products" and Path(target).parent == kept and not interrupted:
            interrupted.append(target)
            signal.raise_signal(signal.SIGINT)
        move(source, target)

    monkeypatch.setattr(build_module.os, "replace", interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = CliRunner().invoke(build, ["icebreaker", *SMALL, "--output", str(kept)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupted and result.exit_code == 1 and result.output.rstrip().endswith("Aborted!")
    assert read_build(BOARDS["icebreaker"], kept)[1]["key"] != "other"
    assert not list(kept.glob(".*"))


def test_disk_that_is_full_at_the_end(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The products are whole before the first of them takes the place of the last build's."""
    fake_tools(tmp_path / "tools", monkeypatch, fmax={1: 40.0})
    before = files(kept)
    write_file = build_module.write_file

    def fail(path: Path, content: bytes | str) -> None:
        if Path(path).name == "icebreaker.report.json":
            raise OSError(28, os.strerror(28), str(path))
        write_file(path, content)

    monkeypatch.setattr(build_module, "write_file", fail)
    result = CliRunner().invoke(build, ["icebreaker", *SMALL, "--output", str(kept)])
    assert isinstance(result.exception, OSError) and result.exception.strerror == "No space left on device"
    assert files(kept) == before
