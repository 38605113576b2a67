"""Bench of the engine, through its link: programs, layer boundaries, cycles, and every wrong command."""

import struct

import cocotb
import numpy as np

from evenstep.compiler import Program
from evenstep.host import LinkError
from evenstep.link.protocol import FLAG, MAX_WORDS, Command, Frame, FrameReader, Region, Status, encode_frame
from evenstep.spec.program import END_WORD, LayerDescriptor, PassDescriptor
from evenstep_sim.host import EngineBench
from evenstep_sim.networks import random_program

_RUN = struct.pack("<I", 0)


def _run_and_compare(bench: EngineBench, program: Program, inputs: np.ndarray) -> None:
    """Run a loaded program on `inputs`, shape (rows, inputs), and compare cycles and every layer boundary."""
    status = bench.client.run(inputs)
    assert status.cycles == program.cycles, f"Run must take {program.cycles} cycles, not {status.cycles}"
    steps = sum(layer.cycles.steps for layer in program.layers)
    assert status.steps == steps, f"Array must take {steps} steps, not {status.steps}"
    for row, vector in enumerate(inputs):
        for result, expected in zip(program.results, program.boundaries(vector), strict=True):
            if result.overwritten:
                continue
            found = bench.client.integers(result, row)
            wrong = np.flatnonzero(found != expected)
            assert not wrong.size, (
                f"{result.name}, row {row}, channel {wrong[0]}: expected {expected[wrong[0]]}, not {found[wrong[0]]} "
                f"({wrong.size} of {expected.size} channels differ)"
            )


def _random_inputs(bench: EngineBench, program: Program) -> np.ndarray:
    network = program.network
    return bench.rng.integers(0, 2**network.input_bits, (bench.geometry.batch, network.inputs))


async def _status_of(bench: EngineBench, command: int, body: bytes = b"") -> Status:
    """Status that answers a command; its tag and command must come back."""
    tag = int(bench.rng.integers(256))
    frame = await bench.exchange(encode_frame(Frame(tag, command, body)))
    assert frame is not None and (frame.tag, frame.command) == (tag, command), f"Answer to {command} is {frame}"
    status = Status(frame.body[0])
    assert status == Status.OK or len(frame.body) == 1
    return status


def endless() -> LayerDescriptor:
    """A layer that runs for longer than any test."""
    return LayerDescriptor(
        raw=True,
        doubled=False,
        zero=0,
        tiles=2**16 - 1,
        outputs=1,
        weight_base=0,
        tile_stride=0,
        channel_base=0,
        output_base=0,
        digits=1,
        digit_stride=0,
        passes=(PassDescriptor(0, 0, 1, shift=False, count=True),),
    )


@cocotb.test()
async def identity(dut) -> None:
    """The engine reports the hash of its manifest."""
    bench = await EngineBench.start(dut)
    found = await bench.blocking(bench.client.identify)
    assert found == bench.geometry.hash, f"Identity must be {bench.geometry.hash.hex()}, not {found.hex()}"


@cocotb.test()
async def values(dut) -> None:
    """Two programs, loaded one after the other, run on inputs of every row: boundaries and cycles are exact."""
    bench = await EngineBench.start(dut)
    for idle, pressure in (("always", "always"), ("random", "bursts")):
        program = random_program(bench.geometry, bench.rng)
        bench.use_patterns(idle, pressure)

        def run(program: Program = program) -> None:
            bench.client.load(program)
            for _ in range(2):
                _run_and_compare(bench, program, _random_inputs(bench, program))

        await bench.blocking(run)


@cocotb.test()
async def memories(dut) -> None:
    """The first and last words of every memory hold what is written, each row's apart."""
    bench = await EngineBench.start(dut)
    program = random_program(bench.geometry, bench.rng)

    def run() -> None:
        bench.client.load(program)
        for region, image in program.images.items():
            found = bench.client.read(region, 0, len(image))
            wrong = [n for n, (got, word) in enumerate(zip(found, image, strict=True)) if got != word]
            assert not wrong, f"{region.name} word {wrong[0]} must be {image[wrong[0]]:#x}, not {found[wrong[0]]:#x}"
        last = bench.geometry.program_depth - 1
        bench.client.write(Region.PROGRAM, last, [0x7E7D7E7D])
        assert bench.client.read(Region.PROGRAM, last, 1) == [0x7E7D7E7D]
        banks = [row * program.bank_words(Region.ACTIVATIONS) for row in range(bench.geometry.rows)]
        for row, bank in enumerate(banks):
            bench.client.write(Region.ACTIVATIONS, bank, [row & 1])
        for row, bank in enumerate(banks):
            assert bench.client.read(Region.ACTIVATIONS, bank, 1) == [row & 1], f"Row {row} must have memory of its own"

    await bench.blocking(run)


@cocotb.test()
async def refusals(dut) -> None:
    """Wrong commands are answered by why, and change nothing."""
    bench = await EngineBench.start(dut)
    await bench.blocking(lambda: bench.client.write(Region.PROGRAM, 0, [0x12345678]))
    depth = bench.geometry.program_depth
    word = b"\xff" * 4
    for command in (0, 7, 255):
        for body in (b"", b"\x01", bytes(40)):
            assert await _status_of(bench, command, body) == Status.UNKNOWN_COMMAND, command
    lengths = [
        (Command.IDENTIFY, b"\x00"),
        (Command.STATUS, b"\x00\x00"),
        (Command.RESET, b"\x00"),
        (Command.WRITE, b""),
        (Command.WRITE, bytes(4)),
        (Command.WRITE, bytes(4) + word[:3]),
        (Command.WRITE, bytes(4) + word + b"\xff"),
        (Command.READ, b""),
        (Command.READ, bytes(4)),
        (Command.READ, bytes(6)),
        (Command.READ, bytes(5)),
        (Command.READ, bytes(4) + bytes([MAX_WORDS + 1])),
        (Command.READ, bytes(4) + b"\xff"),
        (Command.RUN, bytes(3)),
        (Command.RUN, bytes(5)),
    ]
    for command, body in lengths:
        status = await _status_of(bench, command, body)
        assert status == Status.BAD_LENGTH, f"{command.name} of {len(body)} bytes must be BAD_LENGTH, not {status.name}"
    addresses = [
        (Command.WRITE, struct.pack("<I", depth) + word),
        (Command.WRITE, struct.pack("<I", depth - 1) + word * 2),
        (Command.WRITE, struct.pack("<I", (max(Region) + 1) << 24) + word),
        (Command.WRITE, struct.pack("<I", 255 << 24) + word),
        (Command.WRITE, struct.pack("<I", 0x00FFFFFF) + word),
        (Command.READ, struct.pack("<IB", depth, 1)),
        (Command.READ, struct.pack("<IB", depth - 1, 2)),
        (Command.READ, struct.pack("<IB", 0xFFFFFFFF, 1)),
        (Command.RUN, struct.pack("<I", depth)),
        (Command.RUN, struct.pack("<I", Region.WEIGHTS << 24)),
    ]
    if not bench.geometry.combines:
        addresses.append((Command.WRITE, struct.pack("<I", Region.CONSTANTS << 24) + word))
    for command, body in addresses:
        status = await _status_of(bench, command, body)
        assert status == Status.BAD_ADDRESS, f"{command.name} {body.hex()} must be BAD_ADDRESS, not {status.name}"
    assert await bench.blocking(lambda: bench.client.read(Region.PROGRAM, 0, 1)) == [0x12345678]
    assert not (await bench.blocking(bench.client.status)).busy


@cocotb.test()
async def queued(dut) -> None:
    """Commands that wait for no answer are obeyed in order, the shortest and the longest beside each other."""
    bench = await EngineBench.start(dut)
    write = struct.pack("<2I", 0, int(bench.rng.integers(2**32)))
    asked = [(Command.IDENTIFY, b""), (Command.WRITE, write), (Command.STATUS, b""), (Command.IDENTIFY, b"")]
    asked += [(Command.WRITE, write + write[4:] * (MAX_WORDS - 1)), (Command.STATUS, b"")]
    for tag, (command, body) in enumerate(asked):
        await bench.send(encode_frame(Frame(tag, command, body)))
    answers: list[Frame] = []
    reader = FrameReader()
    while data := await bench.receive():
        answers += reader.feed(data)
    found = [(frame.tag, frame.command, frame.body[0]) for frame in answers]
    assert found == [(tag, command, Status.OK) for tag, (command, _) in enumerate(asked)]


@cocotb.test()
async def damage(dut) -> None:
    """Damaged frames are never obeyed or answered; they are counted, and the next good frame works."""
    bench = await EngineBench.start(dut)
    await bench.blocking(lambda: bench.client.write(Region.PROGRAM, 0, [1, 2]))
    before = (await bench.blocking(bench.client.status)).dropped
    good = encode_frame(Frame(9, Command.WRITE, struct.pack("<2I", 0, 0x55)))
    damaged = bytearray(good)
    damaged[8] ^= 0x01
    flag = bytes([FLAG])
    for count, wire in enumerate((bytes(damaged), good[:-4] + flag, flag + bytes(400) + flag)):
        assert await bench.exchange(wire) is None, "A damaged frame must not be answered"
        assert await bench.blocking(lambda: bench.client.read(Region.PROGRAM, 0, 2)) == [1, 2]
        status = await bench.blocking(bench.client.status)
        assert status.dropped - before == count + 1, f"Dropped must be {count + 1}, not {status.dropped - before}"


@cocotb.test()
async def running(dut) -> None:
    """During a run memories are refused, status answers, and reset gives the run up; the next one is whole."""
    bench = await EngineBench.start(dut)
    program = random_program(bench.geometry, bench.rng)
    await bench.blocking(lambda: bench.client.load(program))
    await bench.blocking(lambda: bench.client.write(Region.PROGRAM, 0, [*endless().words(), END_WORD]))
    assert await _status_of(bench, Command.RUN, _RUN) == Status.OK
    refused = (
        (Command.WRITE, struct.pack("<2I", 0, 0)),
        (Command.READ, struct.pack("<IB", 0, 1)),
        (Command.RUN, _RUN),
    )
    for command, body in refused:
        status = await _status_of(bench, command, body)
        assert status == Status.BUSY, f"{command.name} during a run must be BUSY, not {status.name}"
    first, second = [await bench.blocking(bench.client.status) for _ in range(2)]
    assert first.busy and second.busy and first.cycles < second.cycles, "Status must count the cycles of a run"
    assert int(dut.busy.value) == 1
    assert await _status_of(bench, Command.RESET) == Status.OK
    assert int(dut.busy.value) == 0, "A reset must end the run"

    def run() -> None:
        bench.client.load(program)
        _run_and_compare(bench, program, _random_inputs(bench, program))

    await bench.blocking(run)


@cocotb.test()
async def foreign(dut) -> None:
    """A program that was compiled for another engine is refused by the host."""
    bench = await EngineBench.start(dut)
    other = random_program(bench.geometry.replace(program_depth=bench.geometry.program_depth + 1), bench.rng)
    try:
        await bench.blocking(lambda: bench.client.load(other))
    except LinkError as error:
        assert "was compiled for engine" in str(error)
    else:
        raise AssertionError("A foreign program must be refused")


@cocotb.test()
async def reset(dut) -> None:
    """A reset of the module in the middle of a frame leaves a working engine."""
    bench = await EngineBench.start(dut)
    await bench.send(encode_frame(Frame(1, Command.IDENTIFY))[:5])
    await bench.reset()
    assert await bench.blocking(bench.client.identify) == bench.geometry.hash
