"""The engine as a block of a system: its bench, the example of the documentation, the core file, the register map."""

import dataclasses
import gc
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from amaranth.hdl import UnusedElaboratable
from click.testing import CliRunner

from evenstep.axi.engine import AXIEngine
from evenstep.axi.registers import REGISTERS, Address
from evenstep.axi.transport import AccessError, RegisterTransport
from evenstep.gateware.core_memories import host_words
from evenstep.generate import Manifest, generate_block
from evenstep.generate.command import generate
from evenstep.host import EngineClient, LinkError
from evenstep.link.protocol import Command, Frame, FrameReader, Region, Status, encode_frame
from evenstep.spec import Geometry
from evenstep_sim.runner import run_manifest
from evenstep_sim.simulators import find_verilator, verilator_environment

_DOCUMENT = Path(__file__).parents[2] / "docs" / "integration.md"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that `evenstep generate --block axi-engine` wrote."""
    folder = tmp_path_factory.mktemp("axi")
    sizes = {"rows": 2, "columns": 2, "lanes": 4, "weight-depth": 128, "act-depth": 32, "threshold-depth": 32}
    options = [f"--{name}={value}" for name, value in sizes.items()]
    result = CliRunner().invoke(generate, ["--block=axi-engine", f"--output={folder}", *options])
    assert result.exit_code == 0, result.output
    assert "FuseSoC core evenstep:generated:evenstep_axi_engine:" in result.output
    return folder


def test_bench(generated: Path) -> None:
    """A network through registers and streams, each rule of the handshake, each wrong access."""
    results = run_manifest(generated / "evenstep_axi_engine.json", simulator="icarus")
    assert {"values", "registers_alone", "refusals", "no_paths", "timing"} <= {result.name for result in results}


def test_bench_with_weights_in_external_memory(tmp_path: Path) -> None:
    geometry = Geometry(columns=2, lanes=4, weight_depth=16, act_depth=32, threshold_depth=32, port_bits=32)
    geometry = geometry.replace(counter="ecp5")
    manifest = generate_block("axi-engine", geometry, tmp_path)
    assert run_manifest(tmp_path / f"{manifest.module}.json", simulator="verilator")


def test_broken_engine_fails_its_bench(generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is withdrawn before it was taken breaks the protocol, and nothing else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    manifest = Manifest.read(generated / "evenstep_axi_engine.json")
    pattern = re.compile(r"(module \\\S+\.target .*?    if \()port__bready\)", re.DOTALL)
    text, count = pattern.subn(r"\1port__bvalid)", (generated / manifest.verilog).read_text())
    assert count == 1, "The text to break must be in the Verilog"
    (tmp_path / manifest.verilog).write_text(text)
    changed = dataclasses.replace(manifest, sha256=hashlib.sha256(text.encode()).hexdigest())
    (tmp_path / "broken.json").write_text(changed.to_json())
    with pytest.raises(AssertionError, match="s_axi_control_b withdraws"):
        run_manifest(tmp_path / "broken.json", simulator="icarus")


def test_ports_and_manifest(generated: Path) -> None:
    path = generated / "evenstep_axi_engine.json"
    manifest = Manifest.read(path)
    ports = {port.name: (port.direction, port.width) for port in manifest.ports}
    channels = {
        "aw": {"addr": 12, "prot": 3, "valid": 1},
        "w": {"data": 32, "strb": 4, "valid": 1},
        "b": {"ready": 1},
        "ar": {"addr": 12, "prot": 3, "valid": 1},
        "r": {"ready": 1},
    }
    inputs = {f"s_axi_control_{one}{name}": bits for one, names in channels.items() for name, bits in names.items()}
    inputs |= {"s_axis_tvalid": 1, "s_axis_tdata": 32, "s_axis_tlast": 1, "m_axis_tready": 1, "aclk": 1, "aresetn": 1}
    outputs = {f"s_axi_control_{name}": 1 for name in ("awready", "wready", "bvalid", "arready", "rvalid")}
    outputs |= {"s_axi_control_bresp": 2, "s_axi_control_rresp": 2, "s_axi_control_rdata": 32, "busy": 1}
    outputs |= {"s_axis_tready": 1, "m_axis_tvalid": 1, "m_axis_tdata": 32, "m_axis_tlast": 1}
    assert ports == {name: ("input", bits) for name, bits in inputs.items()} | {
        name: ("output", bits) for name, bits in outputs.items()
    }
    values = json.loads(path.read_text())
    assert {register["name"]: register["address"] for register in values["registers"]} == {
        address.name: int(address) for address in Address
    }
    assert {one["name"]: (one["region"], one["words"]) for one in values["regions"]} == {
        region.name.lower(): (int(region), words) for region, words in host_words(manifest.geometry).items()
    }
    assert values["memory_bits"] == manifest.geometry.memory_bits


def test_documented_registers() -> None:
    """The table of the documentation is that of the register map."""
    rows = []
    for register in REGISTERS:
        bits = "; ".join(
            f"{field.name}: bit{'s' * (field.width > 1)} {field.low}"
            + (f" to {field.low + field.width - 1}" if field.width > 1 else "")
            for field in register.fields
        )
        rows.append(f"| 0x{register.address:02X} | {register.name} | {register.access} | {register.text} | {bits} |\n")
    assert "".join(rows) in _DOCUMENT.read_text(), "docs/integration.md must have these rows:\n" + "".join(rows)


def test_documented_example_compiles(generated: Path, tmp_path: Path) -> None:
    (example,) = re.findall(r"```verilog\n(.*?)```", _DOCUMENT.read_text(), re.DOTALL)
    (tmp_path / "system.v").write_text(example)
    engine = str(generated / "evenstep_axi_engine.v")
    icarus = ["iverilog", "-g2005", "-Wall", "-Wno-timescale", "-s", "system", "-o", "system.vvp", "system.v", engine]
    result = subprocess.run(icarus, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    lint = [str(find_verilator()), "--lint-only", "-Wall", "--top-module", "system", "system.v", engine]
    environment = {**os.environ, **verilator_environment()}
    result = subprocess.run(lint, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "Warning" not in result.stderr, result.stderr


def test_core_file(generated: Path, tmp_path: Path) -> None:
    """FuseSoC finds the core, and lints it."""
    fusesoc = shutil.which("fusesoc", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert fusesoc is not None, "FuseSoC must be installed: pip install 'fusesoc>=2.4'"
    command = [fusesoc, "--cores-root", str(generated), "run", "--build-root", str(tmp_path), "--target", "lint"]
    environment = {**os.environ, **verilator_environment(), "HOME": str(tmp_path)}
    result = subprocess.run(
        [*command, "evenstep:generated:evenstep_axi_engine"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "V e r i l a t i o n   R e p o r t" in result.stdout and "Warning" not in result.stdout + result.stderr


class _Registers:
    """An engine of nothing but one memory of eight words, which refuses what lies beyond."""

    def __init__(self) -> None:
        self.values = {Address.VERSION: 1, Address.STATUS: 0, Address.CYCLES: 7, Address.STEPS: 5}
        self.values |= {Address(Address.IDENTITY0 + 4 * n): 0x03020100 + 0x04040404 * n for n in range(4)}
        self.memory = [0] * 8
        self.pointer = 0

    def read(self, address: int) -> int:
        if address == Address.DATA:
            value = self.memory[self._next()]
            return value
        return self.values[Address(address)]

    def write(self, address: int, value: int) -> None:
        if address == Address.POINTER:
            self.pointer = value
        elif address == Address.DATA:
            self.memory[self._next()] = value
        else:
            self.values[Address(address)] = value

    def _next(self) -> int:
        if self.pointer >= len(self.memory):
            raise AccessError
        self.pointer += 1
        return self.pointer - 1


def test_transport_over_registers() -> None:
    registers = _Registers()
    client = EngineClient(RegisterTransport(registers))
    assert client.identify() == bytes(range(16))
    client.write(Region.PROGRAM, 2, [10, 11, 12])
    assert registers.memory == [0, 0, 10, 11, 12, 0, 0, 0] and client.read(Region.PROGRAM, 3, 2) == [11, 12]
    with pytest.raises(LinkError, match=r"\AEngine refuses READ: BAD_ADDRESS\Z"):
        client.read(Region.PROGRAM, 7, 2)
    registers.values[Address.STATUS] = 1
    assert client.status().busy and (client.status().cycles, client.status().steps) == (7, 5)
    with pytest.raises(LinkError, match=r"\AEngine refuses READ: BUSY\Z"):
        client.read(Region.PROGRAM, 0, 1)
    client.reset()
    assert registers.values[Address.CONTROL] == 2
    registers.values[Address.VERSION] = 9
    with pytest.raises(LinkError, match=r"\ARegisters of the engine must be of version 1, not 9\Z"):
        client.identify()


@pytest.mark.parametrize(
    ("command", "body", "status"),
    [
        (0, b"", Status.UNKNOWN_COMMAND),
        (Command.STATUS, b"\0", Status.BAD_LENGTH),
        (Command.WRITE, bytes(4), Status.BAD_LENGTH),
        (Command.WRITE, bytes(10), Status.BAD_LENGTH),
        (Command.READ, bytes(5), Status.BAD_LENGTH),
        (Command.READ, struct.pack("<IB", 0, 62), Status.BAD_LENGTH),
        (Command.RUN, bytes(3), Status.BAD_LENGTH),
        (Command.RUN, struct.pack("<I", Region.WEIGHTS << 24), Status.BAD_ADDRESS),
    ],
)
def test_transport_refuses(command: int, body: bytes, status: Status) -> None:
    transport = RegisterTransport(_Registers())
    transport.write(encode_frame(Frame(3, command, body)))
    assert FrameReader().feed(transport.read()) == [Frame(3, command, bytes([status]))]
    assert transport.read() == b""


def test_memory_beyond_the_pointer_is_refused() -> None:
    message = r"\AMemory of weights must be at most 16777216 host words, which POINTER can address, not \d+: choose a"
    with warnings.catch_warnings():
        # A block that was refused is never elaborated, of which Amaranth would warn.
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(ValueError, match=message):
            AXIEngine(Geometry(columns=64, lanes=128, weight_depth=2**20))
        gc.collect()


def test_defaults_can_be_changed(tmp_path: Path) -> None:
    options = ["--block=axi-engine", "--preset=tiny", "--reset=reset", "--reset-active=high", f"--output={tmp_path}"]
    result = CliRunner().invoke(generate, options)
    assert result.exit_code == 0, result.output
    conventions = Manifest.read(tmp_path / "evenstep_axi_engine.json").conventions
    assert dataclasses.astuple(conventions) == ("aclk", "reset", "high", "sync")
