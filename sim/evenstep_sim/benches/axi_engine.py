"""Bench of the engine behind AXI: programs over both ways in, the handshake's rules, and every wrong access."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly, Timer

from evenstep.axi.lite import Response
from evenstep.axi.registers import ADDRESS_WIDTH, REGISTERS, VERSION, Address, Control, Status
from evenstep.axi.transport import RegisterTransport
from evenstep.compiler import Program
from evenstep.gateware.core_memories import host_words
from evenstep.gateware.timing import region_read_cycles
from evenstep.host import EngineClient
from evenstep.link.protocol import Region
from evenstep.spec.program import END_WORD
from evenstep_golden import reference
from evenstep_sim.axi import AXIBench, AXIBus
from evenstep_sim.benches.engine import endless

# Cycles from an access offered to its answer; of reads, beside those of the memory.
_WRITE_CYCLES = 2
_READ_CYCLES = 2
# From the answer to SEND to the first word offered, beside those of the memory.
_SEND_CYCLES = 1

# What no test comes near: 200,000 cycles, after which an engine that does not answer is given up.
_test = cocotb.test(timeout_time=2, timeout_unit="ms")


def _run_and_compare(client: EngineClient, program: Program, inputs: np.ndarray) -> None:
    """Run a loaded program on `inputs`, shape (rows, inputs), and compare cycles and every layer boundary."""
    status = client.run(inputs)
    if program.external:
        assert status.cycles >= program.least_cycles, f"Run cannot take less than {program.least_cycles} cycles"
    else:
        assert status.cycles == program.cycles, f"Run must take {program.cycles} cycles, not {status.cycles}"
    network = program.network
    expected = dict(zip((layer.name for layer in network.layers), reference.run(network, inputs), strict=True))
    for row in range(len(inputs)):
        for result in program.results:
            if result.overwritten:
                continue
            found, wanted = client.integers(result, row), expected[result.name][row]
            wrong = np.flatnonzero(found != wanted)
            assert not wrong.size, (
                f"{result.name}, row {row}, channel {wrong[0]}: expected {wanted[wrong[0]]}, not {found[wrong[0]]}"
            )


def _random_inputs(bench: AXIBench, program: Program) -> np.ndarray:
    network = program.network
    return bench.rng.integers(0, 2**network.input_bits, (bench.geometry.batch, network.inputs))


async def _write(bench: AXIBench, address: int, value: int) -> None:
    assert await bench.write(address, value) == Response.OKAY, f"Write of {value:#x} to {address:#x} must be taken"


async def _read(bench: AXIBench, address: int) -> int:
    value, response = await bench.read(address)
    assert response == Response.OKAY, f"Read of {address:#x} must be answered"
    return value


async def _refused(bench: AXIBench, address: int, value: int | None = None) -> None:
    """An access, a write unless `value` is left out, must be answered by SLVERR."""
    response = (await bench.read(address))[1] if value is None else await bench.write(address, value)
    what = "Read" if value is None else f"Write of {value:#x}"
    assert response == Response.SLVERR, f"{what} at {address:#x} must be SLVERR, not {Response(response).name}"


async def _idle(bench: AXIBench) -> None:
    for _ in range(1000):
        if not await _read(bench, Address.STATUS):
            return
    raise AssertionError("Engine must become idle")


@_test
async def values(dut) -> None:
    """A program through the streams, on inputs of every row, under patterns: boundaries and cycles are exact."""
    bench = await AXIBench.start(dut)
    for idle, pressure in (("always", "always"), ("random", "bursts"), ("bursts", "random")):
        bench.use_patterns(idle, pressure)
        program = bench.random_program()

        def run(program: Program = program) -> None:
            bench.client.load(program)
            _run_and_compare(bench.client, program, _random_inputs(bench, program))

        await bench.blocking(run)
    for channel, watch in bench.watched.items():
        assert watch.transfers > 10 and watch.waits > 10, f"{channel} must have been used, and made to wait"


@_test
async def registers_alone(dut) -> None:
    """The same without streams: every word through DATA."""
    bench = await AXIBench.start(dut)
    program = bench.random_program()
    client = EngineClient(RegisterTransport(AXIBus(bench)))

    def run() -> None:
        client.load(program)
        _run_and_compare(client, program, _random_inputs(bench, program))

    await bench.blocking(run)
    assert not bench.watched["m_axis_t"].transfers


@_test
async def register_map(dut) -> None:
    """Every address: what is no register, or is only read, refuses, and nothing changes."""
    bench = await AXIBench.start(dut)
    identity = b"".join([(await _read(bench, Address.IDENTITY0 + 4 * n)).to_bytes(4, "little") for n in range(4)])
    assert identity == bench.geometry.hash, f"Identity must be {bench.geometry.hash.hex()}, not {identity.hex()}"
    assert await _read(bench, Address.VERSION) == VERSION
    known = {register.address: register for register in REGISTERS}
    steady = [address for address in known if address != Address.DATA]  # reading it moves POINTER
    before = [await _read(bench, address) for address in steady]
    for address in (*range(0, 0x80, 4), 0x100, 0x400, 2**ADDRESS_WIDTH - 4):
        if address not in known:
            await _refused(bench, address)
            await _refused(bench, address, 1)
        elif known[address].access == "read":
            await _refused(bench, address, 0xFFFFFFFF)
    after = [await _read(bench, address) for address in steady]
    assert before == after, f"Refused accesses must change nothing, but {before} became {after}"


@_test
async def refusals(dut) -> None:
    """Words beyond a memory, transfers that would reach there, parts of words: SLVERR, and no effect."""
    bench = await AXIBench.start(dut)
    await _write(bench, Address.POINTER, 0)
    await _write(bench, Address.DATA, 0x12345678)
    sizes = host_words(bench.geometry)
    for region in (*Region, max(Region) + 1, 255):
        size = sizes.get(Region(region) if region in list(Region) else Region.PROGRAM, 0) if region in sizes else 0
        for word in {size, 2**24 - 1}:
            await _write(bench, Address.POINTER, region << 24 | word)
            await _refused(bench, Address.DATA)
            await _refused(bench, Address.DATA, 0xFFFFFFFF)
            await _refused(bench, Address.SEND, 1)
            await _refused(bench, Address.RECEIVE, 1)
        if size:
            await _write(bench, Address.POINTER, region << 24 | size - 1)
            for count in (0, 2, 2**25, 2**32 - 1):
                await _refused(bench, Address.SEND, count)
                await _refused(bench, Address.RECEIVE, count)
    await _refused(bench, Address.ENTRY, bench.geometry.program_depth)
    await _refused(bench, Address.CONTROL, Control.START | Control.RESET)
    await _write(bench, Address.POINTER, 0)
    for data in (b"\xff", b"\xff\xff"):
        answer = await bench.lite.write(Address.DATA, data)
        assert answer.resp == Response.SLVERR, "A write of less than a word must be SLVERR"
    assert await _read(bench, Address.POINTER) == 0
    assert await _read(bench, Address.DATA) == 0x12345678
    assert await _read(bench, Address.STATUS) == 0
    assert bench.source.empty() and bench.sink.empty()


@_test
async def memories(dut) -> None:
    """The first and last words of every memory hold what is written, through registers and streams alike."""
    bench = await AXIBench.start(dut)
    for region, size in host_words(bench.geometry).items():
        for word in (0, size - 2):
            # Memories may be narrower than a word, or have gaps.
            words = [int(bit) for bit in bench.rng.permutation(2)]
            await _write(bench, Address.POINTER, region << 24 | word)
            await _write(bench, Address.RECEIVE, 2)
            await bench.put(words)
            await _idle(bench)
            await _write(bench, Address.POINTER, region << 24 | word)
            first = [await _read(bench, Address.DATA) for _ in range(2)]
            assert await _read(bench, Address.POINTER) == region << 24 | word + 2
            await _write(bench, Address.POINTER, region << 24 | word)
            await _write(bench, Address.SEND, 2)
            second = await bench.get()
            assert first == second, f"{region.name}, words {word} and {word + 1}: {first} and {second} must be one"
            if region is Region.PROGRAM:
                assert first == words


@_test
async def transfers(dut) -> None:
    """Packets of another length than the transfer's; and transfers that are given up."""
    bench = await AXIBench.start(dut)
    # A short packet ends a transfer of more words.
    await _write(bench, Address.POINTER, 0)
    await _write(bench, Address.RECEIVE, 8)
    assert await _read(bench, Address.RECEIVE) == 8
    for address, value in ((Address.POINTER, 0), (Address.DATA, 0), (Address.SEND, 1), (Address.RECEIVE, 1)):
        await _refused(bench, address, value)
    await _refused(bench, Address.CONTROL, Control.START)
    await bench.put([1, 2, 3])
    await _idle(bench)
    assert await _read(bench, Address.POINTER) == 3
    # The rest of a long one waits for the next transfer.
    await bench.put([4, 5, 6, 7])
    await _write(bench, Address.RECEIVE, 2)
    await _idle(bench)
    await _write(bench, Address.RECEIVE, 8)
    await _idle(bench)
    assert await _read(bench, Address.POINTER) == 7
    # A transfer in is given up by a reset, one out ends with a packet.
    await _write(bench, Address.RECEIVE, 2)
    assert await _read(bench, Address.STATUS) == Status.RECEIVING
    await _write(bench, Address.CONTROL, Control.RESET)
    assert await _read(bench, Address.STATUS) == 0
    await _write(bench, Address.POINTER, 0)
    bench.sink.pause = True
    await _write(bench, Address.SEND, 16)
    assert await _read(bench, Address.STATUS) == Status.SENDING
    await _write(bench, Address.CONTROL, Control.RESET)
    bench.sink.pause = False
    words = await bench.get()
    count = 3 + region_read_cycles(bench.geometry)  # of which 7 at most were written
    assert len(words) == count, f"One word must follow the {count - 1} read ahead, not {words}"
    assert words[:7] == [1, 2, 3, 4, 5, 6, 7][:count]
    await _write(bench, Address.POINTER, 0)
    await _write(bench, Address.SEND, 7)
    assert await bench.get() == [1, 2, 3, 4, 5, 6, 7]
    assert bench.sink.empty()


@_test
async def overlapped(dut) -> None:
    """Accesses that do not wait for those before, reads and writes side by side: each is answered, in order."""
    bench = await AXIBench.start(dut)
    for idle, pressure in (("always", "always"), ("always", "rarely"), ("random", "random")):
        bench.use_patterns(idle, pressure)
        words = bench.rng.integers(2**32, size=8).tolist()
        await _write(bench, Address.POINTER, 0)
        writes = [cocotb.start_soon(bench.write(Address.DATA, word)) for word in words]
        assert [await task for task in writes] == [Response.OKAY] * len(words)
        await _write(bench, Address.POINTER, 0)
        reads, writes = [], []
        for n in range(len(words)):
            reads += [cocotb.start_soon(bench.read(address)) for address in (Address.DATA, 0x7C)]
            writes += [cocotb.start_soon(bench.write(*one)) for one in ((Address.ENTRY, n), (Address.CYCLES, 0))]
        found = [await task for task in reads]
        assert found == [one for word in words for one in ((word, Response.OKAY), (0, Response.SLVERR))]
        assert [await task for task in writes] == [Response.OKAY, Response.SLVERR] * len(words)
        assert await _read(bench, Address.ENTRY) == len(words) - 1


@_test
async def timing(dut) -> None:
    """Accesses take the cycles that the documentation says; streams move a word in every cycle."""
    bench = await AXIBench.start(dut)
    memory_cycles = region_read_cycles(bench.geometry)
    for what, access, cycles in (
        ("Write", lambda: bench.write(Address.ENTRY, 0), _WRITE_CYCLES),
        ("Read", lambda: bench.read(Address.ENTRY), _READ_CYCLES + memory_cycles),
    ):
        await bench.tick(5)
        channel = "awvalid" if what == "Write" else "arvalid"
        answer = "bvalid" if what == "Write" else "rvalid"
        times = await bench.times(f"s_axi_control_{channel}", f"s_axi_control_{answer}", access)
        assert times == cycles, f"{what} must be answered after {cycles} cycles, not {times}"
    await _write(bench, Address.POINTER, 0)
    count = 32
    await _write(bench, Address.RECEIVE, count)
    moved = await bench.moves("s_axis", lambda: bench.put(list(range(count))))
    assert moved == list(range(moved[0], moved[0] + count)), f"A word must be taken in every cycle, not {moved}"
    await _idle(bench)
    await _write(bench, Address.POINTER, 0)
    cycles = await bench.times("s_axi_control_bvalid", "m_axis_tvalid", lambda: bench.write(Address.SEND, 1))
    expected = _SEND_CYCLES + memory_cycles
    assert cycles == expected, f"The first word must follow the answer by {expected} cycles, not {cycles}"
    assert await bench.get() == [0]
    await _write(bench, Address.POINTER, 0)
    moved = await bench.moves("m_axis", lambda: bench.write(Address.SEND, count))
    assert moved == list(range(moved[0], moved[0] + count)), f"A word must be sent in every cycle, not {moved}"
    assert await bench.get() == list(range(count))


@_test
async def no_paths(dut) -> None:
    """No output changes within a cycle, whatever the inputs do: the specification allows no path between them."""
    bench = await AXIBench.start(dut)
    conventions = bench.manifest.conventions
    ports = [port for port in bench.manifest.ports if port.name not in (conventions.clock, conventions.reset)]
    inputs = [getattr(dut, port.name) for port in ports if port.direction == "input"]
    outputs = [getattr(dut, port.name) for port in ports if port.direction == "output"]
    bench.use_patterns("random", "random")
    program = bench.random_program()
    load = cocotb.start_soon(bench.blocking(lambda: bench.client.load(program)))
    changed: set[str] = set()
    for _ in range(400):
        await FallingEdge(bench.clock)
        before = [port.value for port in inputs]
        seen = [str(port.value) for port in outputs]
        for port in inputs:
            port.value = int(bench.rng.integers(2 ** min(len(port), 31)))
        await Timer(1, "ns")
        found = [str(port.value) for port in outputs]
        for port, value in zip(inputs, before, strict=True):
            port.value = value
        await ReadOnly()
        changed |= {port._name for port, one, other in zip(outputs, seen, found, strict=True) if one != other}
    await load
    assert not changed, f"Outputs must depend on no input of the same cycle, but {', '.join(sorted(changed))} do"


@_test
async def running(dut) -> None:
    """During a run memories and transfers are refused, status answers, and RESET gives the run up."""
    bench = await AXIBench.start(dut)
    program = bench.random_program()
    await bench.blocking(lambda: bench.client.load(program))
    words = [*endless().words(), END_WORD]
    await _write(bench, Address.POINTER, 0)
    await _write(bench, Address.RECEIVE, len(words))
    await bench.put(words)
    await _idle(bench)
    await _write(bench, Address.ENTRY, 0)
    await _write(bench, Address.CONTROL, Control.START)
    for address, value in (
        (Address.DATA, None),
        (Address.DATA, 0),
        (Address.POINTER, 0),
        (Address.RECEIVE, 1),
        (Address.SEND, 1),
        (Address.CONTROL, Control.START),
    ):
        await _refused(bench, address, value)
    cycles = [await _read(bench, Address.CYCLES) for _ in range(2)]
    assert cycles[0] < cycles[1], "CYCLES must count those of a run"
    assert await _read(bench, Address.STATUS) == Status.BUSY and int(dut.busy.value) == 1
    await _write(bench, Address.CONTROL, Control.RESET)
    assert await _read(bench, Address.STATUS) == 0 and int(dut.busy.value) == 0, "A reset must end the run"

    def run() -> None:
        bench.client.load(program)
        _run_and_compare(bench.client, program, _random_inputs(bench, program))

    await bench.blocking(run)


@_test
async def reset(dut) -> None:
    """A reset of the module in the middle of transfers and accesses leaves a working engine."""
    bench = await AXIBench.start(dut)
    await _write(bench, Address.POINTER, 0)
    bench.sink.pause = True
    await _write(bench, Address.SEND, 9)
    await bench.tick(6)
    await bench.reset()
    bench.sink.pause = False
    assert await _read(bench, Address.STATUS) == 0
    assert await bench.blocking(bench.client.identify) == bench.geometry.hash
    assert bench.sink.empty()
