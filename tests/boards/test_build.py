"""`evenstep build` with the real tools: small engines, since full ones take minutes and up; and what a build keeps."""

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from evenstep.compiler import compile_network
from evenstep.estimate.fit import sized_geometry
from evenstep.generate import Manifest
from evenstep_boards import build as build_module
from evenstep_boards import toolchain
from evenstep_boards.board import Board
from evenstep_boards.build import build_board, read_build
from evenstep_boards.catalog import BOARDS, find_board
from evenstep_boards.commands import build as command_module
from evenstep_boards.commands.build import as_changes, build
from evenstep_boards.report import read_routing
from evenstep_boards.toolchain import Processes, find_tool
from evenstep_golden.sample import sample_network
from tests.boards.fake_tools import fake_tools

# Small enough for seconds, and with every block of an engine.
SMALL = ["rows=1", "columns=1", "lanes=4", "weight_depth=64", "act_depth=64", "threshold_depth=64", "result_depth=16"]
CHANGES = {"rows": 1, "columns": 1, "lanes": 4, "weight_depth": 64, "act_depth": 64, "threshold_depth": 64}
SMALL_BOARD = replace(BOARDS["icebreaker"], geometry=BOARDS["icebreaker"].geometry.replace(**CHANGES))
# Of a small engine, any of these may be the slowest.
BLOCK = r"(?:engine\.[\w.]+|flash_\w+|boot_switch|uart_receiver|uart_transmitter|clock)"
CHANGE = "Change must be NAME=VALUE of a parameter of the geometry, not "


def invoke(*arguments: str | Path, changes: list[str] = SMALL) -> Result:
    options = [option for change in changes for option in ("--with", change)]
    return CliRunner().invoke(build, [*options, *map(str, arguments)])


def failure(*arguments: str | Path, changes: list[str] = SMALL) -> str:
    """Message of a build that must fail, in one line."""
    result = invoke(*arguments, changes=changes)
    assert isinstance(result.exception, RuntimeError | ValueError | TypeError | OSError), result.output
    message = str(result.exception)
    assert len(message.splitlines()) == 1
    return message


def files(folder: Path) -> dict[str, str]:
    """Content of a folder, as hashes."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Small iCEBreaker."""
    folder = tmp_path_factory.mktemp("built")
    return folder, invoke("icebreaker", "--output", folder)


@pytest.fixture
def kept(built: tuple[Path, Result], tmp_path: Path) -> Path:
    """A copy of that build, which a test may spoil."""
    return Path(shutil.copytree(built[0], tmp_path / "kept"))


@contextmanager
def no_tool_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def run(*_: object, **__: object) -> bool:
        raise AssertionError("no tool may run")

    with monkeypatch.context() as patch:
        patch.setattr(Processes, "run", run)
        yield


def test_icebreaker(built: tuple[Path, Result]) -> None:
    folder, result = built
    assert result.exit_code == 0, (result.output, result.exception)
    assert {path.name for path in folder.iterdir()} == {
        "icebreaker.bin",
        "icebreaker.json",
        "icebreaker.log",
        "icebreaker.pcf",
        "icebreaker.report.json",
        "icebreaker.v",
        "test_icebreaker.py",
    }, "nothing of a build is left but its products"
    report = json.loads((folder / "icebreaker.report.json").read_text())
    assert report["seed"] == 1 and report["seeds"] == {"1": report["fmax_mhz"]}
    assert report["fmax_mhz"] >= report["clock_mhz"] == 36
    cells = report["cells"]
    assert cells["SPRAMs (256 Kbit)"] == {"used": 1, "available": 4} and cells["DSPs"]["used"] == 0
    assert 500 < cells["logic cells"]["used"] < cells["logic cells"]["available"] == 5280
    assert re.match(rf"{BLOCK}(?: ->|,)", report["slowest_path"]) and report["cycles"] is None
    # The first bytes of every bitstream of an iCE40, and the size of an UP5K's.
    assert (folder / "icebreaker.bin").read_bytes()[:7] == bytes.fromhex("ff0000ff7eaa99")
    assert (folder / "icebreaker.bin").stat().st_size == 104_090
    output = " ".join(result.output.split())
    assert f"{report['fmax_mhz']} MHz with seed {report['seed']}; the clock is 36 MHz" in output
    assert f"Slowest path: {report['slowest_path']}" in output
    assert result.output.rstrip().endswith(str(folder / "icebreaker.bin"))


def test_manifest_is_that_of_the_engine(built: tuple[Path, Result]) -> None:
    folder = built[0]
    board = BOARDS["icebreaker"]
    manifest = Manifest.read(folder / "icebreaker.json")
    assert manifest.geometry == board.geometry.replace(**CHANGES, result_depth=16)
    bitstream, part = read_build(board, folder)
    assert bitstream == folder / "icebreaker.bin"
    assert part["clock_hz"] == 36_000_000 and part["baud"] == 1_000_000 and part["network"] is None


def test_same_bytes_twice(built: tuple[Path, Result], tmp_path: Path) -> None:
    """A build elsewhere, from the start, gives every byte again; only the log tells times."""
    assert invoke("icebreaker", "--output", tmp_path / "again").exit_code == 0
    first, second = files(built[0]), files(tmp_path / "again")
    assert first.pop("icebreaker.log") and second.pop("icebreaker.log")
    assert first == second


def test_cache(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same content is there already; another number of seeds, geometry or tool is not, nor is a damaged build."""
    before = files(kept)
    with no_tool_runs(monkeypatch):
        result = invoke("icebreaker", "--output", kept)
        assert result.exit_code == 0 and result.output.rstrip().endswith("icebreaker.bin: as built before")
        assert files(kept) == before
        for arguments in (["--seeds", "2"], ["--with", "act_depth=32"], ["--clock", "18"]):
            result = invoke("icebreaker", *arguments, "--output", kept)
            assert isinstance(result.exception, AssertionError), "a tool must run"
        real = find_tool
        monkeypatch.setattr(build_module, "find_tool", lambda name: replace(real(name), version="another"))
        assert isinstance(invoke("icebreaker", "--output", kept).exception, AssertionError)
        monkeypatch.setattr(build_module, "find_tool", real)
        (kept / "icebreaker.json").write_text((kept / "icebreaker.json").read_text()[:-20])
        assert isinstance(invoke("icebreaker", "--output", kept).exception, AssertionError)


def test_another_clock(tmp_path: Path) -> None:
    """Which the manifest tells; one that cannot be is refused before anything runs."""
    result = invoke("icebreaker", "--clock", "18", "--output", tmp_path)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "the clock is 18 MHz" in result.output
    assert json.loads((tmp_path / "icebreaker.json").read_text())["board"]["clock_hz"] == 18_000_000
    message = failure("icebreaker", "--clock", "19", "--output", tmp_path)
    assert message == "Clock must be one that the PLL makes of 12000000 Hz, such as 19125000 Hz, not 19000000 Hz"


def test_ulx3s(tmp_path: Path) -> None:
    result = invoke("ulx3s", "--output", tmp_path)
    assert result.exit_code == 0, (result.output, result.exception)
    report = json.loads((tmp_path / "ulx3s.report.json").read_text())
    assert report["fmax_mhz"] >= report["clock_mhz"] == 100
    assert 500 < report["cells"]["LUTs"]["used"] < report["cells"]["LUTs"]["available"] == 83_640
    assert report["cells"]["DSPs"]["used"] == 0
    bitstream, _ = read_build(BOARDS["ulx3s"], tmp_path)
    assert b"LFE5U-85F" in bitstream.read_bytes()[:200]


def test_missed_clock_names_our_blocks(kept: Path) -> None:
    """An engine that is too slow for its clock fails, and leaves what was there."""
    before = files(kept)
    slow = replace(SMALL_BOARD, clock_hz=48_000_000)
    with pytest.raises(RuntimeError) as caught:
        build_board(slow, kept)
    message = str(caught.value)
    found = re.fullmatch(
        r"iCEBreaker misses its clock: ([\d.]+) MHz of 48 MHz with seed 1; the slowest path is "
        rf"{BLOCK}(?: -> {BLOCK})*, [\d.]+ ns, [\d.]+ ns of it on wires: "
        r"try more --seeds or a smaller geometry \(log: .*\)",
        message,
    )
    assert found and 15 < float(found[1]) < 48, message
    assert "Max frequency for clock" in (kept / "icebreaker.log").read_text()
    after = files(kept)
    assert before.pop("icebreaker.log") != after.pop("icebreaker.log")
    assert after == before


def test_engine_that_is_too_large(kept: Path) -> None:
    """The limit that it breaks is named, and what it needs; what was there stays."""
    before = files(kept)
    message = failure("icebreaker", "--output", kept, changes=[*SMALL, "act_depth=65536"])
    expected = r"Engine is too large for iCEBreaker: it takes [\d,]+ block RAMs \(4 Kbit\) of the 30 of its iCE40UP5K: "
    assert re.fullmatch(expected + "choose a smaller geometry", message), message
    after = files(kept)
    assert (before.pop("icebreaker.log"), after.pop("icebreaker.log")) and after == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("weight_depth=16385", "SPRAM must have at most 16384 words, not 16385"),
        ("counter=ecp5", "SPRAM must be of an engine with another counter than ecp5, as it has no registers"),
    ],
)
def test_weights_that_their_memory_does_not_take(change: str, message: str, tmp_path: Path) -> None:
    """One line, of a process of its own: Amaranth has nothing to say of the blocks that are not used then."""
    command = [sys.executable, "-c", "from evenstep.cli import main; main()", "build", "icebreaker"]
    arguments = ["--with", change, "--output", str(tmp_path)]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == f"evenstep: {message}\n"
    assert not any(tmp_path.iterdir())


def test_network_that_does_not_fit(tmp_path: Path) -> None:
    """What would mend it is said as this command takes it."""
    message = failure("ulx3s", "sample", "--output", tmp_path)
    assert re.fullmatch(r"Activations .* more than the engine has: build it with --with act_depth=849", message), (
        message
    )
    for hint, change in (
        ("--no-neighbours", "--with neighbours=false"),
        ("--convolution --rescale --wide-depth N", "--with convolution=true --with rescale=true --with wide_depth=N"),
        ("--threshold-style bank, search or serial", "--with threshold_style=bank, search or serial"),
        (
            "--weight-bits 4 --piecewise sums or --max-weight-bits 16",
            "--with weight_bits=4 --with piecewise=sums or --with max_weight_bits=16",
        ),
    ):
        assert as_changes(f"x: generate it with {hint}") == f"x: build it with {change}"
    assert as_changes("x must be y, not --z") == "x must be y, not --z"


def test_engine_that_is_fitted_to_its_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The array is the board's, or what is asked for; parts and depths are what the network takes."""
    chosen: list[Board] = []

    def keep(board: Board, *_: object, **__: object) -> None:
        chosen.append(board)
        raise RuntimeError("enough is known")

    monkeypatch.setattr(command_module, "build_board", keep)
    assert failure("ulx3s", "sample", "--fit", changes=["rows=2", "counter=portable"]) == "enough is known"
    geometry = chosen[0].geometry
    usual = BOARDS["ulx3s"].geometry
    assert geometry == sized_geometry(sample_network(), usual.replace(rows=2, counter="portable")).geometry
    assert geometry.columns == usual.columns and geometry.weight_depth < usual.weight_depth
    compile_network(sample_network(), geometry)

    assert failure("icebreaker", "sample", "--fit", changes=["act_bits=1"]) == (
        "fc1 has 2-bit outputs, wider than the engine's 1: build it with --with output_bits=2"
    )
    for arguments, change, message in (
        (["icebreaker"], "rows=1", "--fit needs a NETWORK that the engine is to fit"),
        (["icebreaker", "sample"], "act-depth=64", "--with act-depth=64 excludes --fit, which chooses it"),
    ):
        result = invoke(*arguments, "--fit", changes=[change])
        assert result.exit_code == 2 and message in result.output, result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["arty"], rf"Board must be one of {', '.join(BOARDS)}, not 'arty'"),
        (
            ["icebreaker", "--with", "wires=3"],
            f"{CHANGE}'wires=3'",
        ),
        (["icebreaker", "--with", "rows"], f"{CHANGE}'rows'"),
        (["icebreaker", "--with", "rows=0"], r"Rows must be an integer from 1 to 64, not 0"),
        (["icebreaker", "--with", "rows=many"], r"Rows must be an integer from 1 to 64, not 'many'"),
        (
            ["icebreaker", "--clock", "0.5"],
            r"Baud rate must be at most .*, not 1000000 with 500000 Hz",
        ),
    ],
)
def test_bad_input(arguments: list[str], expected: str, tmp_path: Path) -> None:
    message = failure(*arguments, "--output", tmp_path)
    assert re.fullmatch(expected, message), message
    assert "'none.onnx' does not exist" in invoke("icebreaker", "none.onnx", "--output", tmp_path).output
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("seeds", ["0", "1001", "x"])
def test_seeds_are_checked(seeds: str, tmp_path: Path) -> None:
    result = invoke("icebreaker", "--seeds", seeds, "--output", tmp_path)
    assert result.exit_code == 2 and "--seeds" in result.output
    with pytest.raises(ValueError, match=r"^Seeds must be an integer from 1 to 1000, not 0$"):
        build_board(BOARDS["icebreaker"], tmp_path, seeds=0)


def test_missing_tool_names_its_installation(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda _: None)
    before = files(kept)
    assert failure("icebreaker", "--output", kept) == "yosys must be installed: pip install 'evenstep[boards]'"
    assert files(kept) == before


def test_native_tools_are_used_where_they_are_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for version, native in (("0.23", False), ("0.64+200", True)):
        (tmp_path / "yosys").write_text(f"#!/bin/sh\necho 'Yosys {version} (git)'\n")
        (tmp_path / "yosys").chmod(0o755)
        tool = find_tool("yosys")
        assert (tool.command == (str(tmp_path / "yosys"),)) == native
    assert tool.version.startswith("yosys of SHA-256 ")


def test_tool_behind_a_script_is_told_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "yosys").write_text(f"#!/bin/sh\ncat {tmp_path}/version\n")
    (tmp_path / "yosys").chmod(0o755)
    versions = set()
    for version in ("0.64", "0.65"):
        (tmp_path / "version").write_text(f"Yosys {version}\n")
        versions.add(find_tool("yosys").version)
    assert len(versions) == 2


def test_packer_comes_with_its_router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old packer beside a router from PyPI is not used."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, native in (("icepack", False), ("nextpnr-ice40", True)):
        (tmp_path / name).write_text("#!/bin/sh\necho 'nextpnr-0.9'\n")
        (tmp_path / name).chmod(0o755)
        assert (find_tool("icepack").command == (str(tmp_path / "icepack"),)) == native


def test_clock_that_the_tools_do_not_know(tmp_path: Path) -> None:
    """A report whose clocks are not the board's would prove nothing."""
    report = {"fmax": {"clk": {"achieved": 50.0, "constraint": 12.0}}, "critical_paths": [], "utilization": {}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(
        RuntimeError, match=r"^iCEBreaker must have a clock of 36 MHz, but nextpnr finds \[12\.0\] MHz$"
    ):
        read_routing(tmp_path / "report.json", find_board("icebreaker"), 1)


def test_clock_of_a_pll_that_the_tools_round(tmp_path: Path) -> None:
    """What nextpnr finds behind an iCE40's PLL for 33 MHz; a step of the PLL further is another clock."""
    board = replace(find_board("icebreaker"), clock_hz=33_000_000)
    used = {cell: {"used": 1, "available": 2} for cell in board.cells.values()}
    for constraint, known in ((33.03382873535156, True), (33.75, False)):
        clocks = {"clk": {"achieved": 35.0, "constraint": constraint}}
        (tmp_path / "report.json").write_text(json.dumps({"fmax": clocks, "critical_paths": [], "utilization": used}))
        if known:
            assert read_routing(tmp_path / "report.json", board, 1).meets
        else:
            with pytest.raises(RuntimeError, match=r"^iCEBreaker must have a clock of 33 MHz, but nextpnr finds"):
                read_routing(tmp_path / "report.json", board, 1)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["engine.core.sum_CCU2C_$abc$1", "engine.core.drain.value_LUT4", "$abc$7"],
            "engine.core -> engine.core.drain",
        ),
        (["$auto$ff.cc:1", "$abc$7", "$abc$8"], "engine.decoder"),
    ],
)
def test_slowest_path_is_named_by_cells_or_else_by_nets(names: list[str], expected: str, tmp_path: Path) -> None:
    steps = [
        {
            "type": "routing",
            "delay": 2.5,
            "net": "engine.decoder.state[3]",
            "from": {"cell": start},
            "to": {"cell": end},
        }
        for start, end in pairwise(names)
    ]
    path = {"from": "posedge clk", "to": "posedge clk", "path": steps}
    pins = {"from": "<async>", "to": "posedge clk", "path": 9 * steps}
    used = {cell: {"used": 1, "available": 2} for cell in BOARDS["icebreaker"].cells.values()}
    clocks = {"clk": {"achieved": 20.0, "constraint": 36.0}}
    report = {"fmax": clocks, "critical_paths": [pins, path], "utilization": used}
    (tmp_path / "report.json").write_text(json.dumps(report))
    routing = read_routing(tmp_path / "report.json", BOARDS["icebreaker"], 3)
    assert routing.path() == f"{expected}, 5.0 ns, 5.0 ns of it on wires"
    assert (routing.meets, routing.fmax, routing.wanted, routing.seed) == (False, 20.0, 36.0, 3)


def test_netlist_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For `evenstep verify`, that which is placed, whatever it is called."""
    fake_tools(tmp_path / "tools", monkeypatch, fmax={1: 100.0}, name="tangnano9k")
    build_board(replace(BOARDS["tangnano9k"], geometry=SMALL_BOARD.geometry), tmp_path / "out")
    _, part = read_build(BOARDS["tangnano9k"], tmp_path / "out")
    assert gzip.decompress((tmp_path / "out" / part["verify"]["file"]).read_bytes()) == b"top.syn.json\n"
