"""The client of the link on lines that lose, babble and lie; the engine is a few lines of Python."""

import re
import struct
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from evenstep.compiler import Program, compile_network
from evenstep.generate import generate_block
from evenstep.host import Engine, EngineClient, LinkError, LostMemoryError, NoAnswerError
from evenstep.link.protocol import MAGIC, VERSION, Command, Frame, FrameReader, Region, Status, encode_frame
from evenstep.spec import Dense, Encoding, Geometry, Network, Thresholds
from evenstep.spec.program import END_WORD

GEOMETRY = Geometry(columns=2, lanes=4)


class FakeEngine:
    """Remembers what is written and answers every command; its runs take what is predicted, and compute nothing.

    `lose` drops the next answers to a command, `twice` obeys the next ones twice and tells of the second only if `tell`
    is set; `cycles` are those of the next looks at a run, `refuse` the status that answers a command.
    """

    def __init__(self, geometry: Geometry = GEOMETRY, *, cycles: int = 0) -> None:
        self.geometry = geometry
        self.commands: list[int] = []
        self.lose: Counter[Command] = Counter()
        self.twice: Counter[Command] = Counter()
        self.refuse: dict[Command, Status] = {}
        self.tell = True
        self.takes = cycles
        self.looks = iter([])
        self.babble = b""
        self.identity = MAGIC + bytes([VERSION]) + geometry.hash
        self.memory: dict[int, int] = {}
        self.closed = False
        self._reader = FrameReader()
        self._out = b""

    def write(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            command = Command(frame.command)
            self.commands.append(command)
            body = bytes([Status.OK]) + self.obey(command, frame.body)
            if command in self.refuse:
                body = bytes([self.refuse[command]])
            answer = encode_frame(Frame(frame.tag, command, body))
            if self.twice[command]:
                # As a line does that repeats all that was sent, which is the frame and what goes with it.
                self.twice[command] -= 1
                self.commands.append(command)
                self._reader.dropped += data.endswith(b"\x7e\0\x7e")
                answer *= 2 if self.tell else 1
            if self.lose[command]:
                self.lose[command] -= 1
            else:
                self._out += answer

    def obey(self, command: Command, body: bytes) -> bytes:
        match command:
            case Command.IDENTIFY:
                return self.identity
            case Command.STATUS:
                look = next(self.looks, None)
                takes = self.takes if look is None else look
                return struct.pack("<BIII", look is not None, self._reader.dropped, takes, 0)
            case Command.WRITE:
                address, *words = struct.unpack(f"<{len(body) // 4}I", body)
                self.memory.update({address + n: word for n, word in enumerate(words)})
            case Command.READ:
                address, count = struct.unpack("<IB", body)
                return struct.pack(f"<{count}I", *(self.memory.get(address + n, 0) for n in range(count)))
        return b""

    def read(self) -> bytes:
        data, self._out = self._out, self.babble
        return data

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def program() -> Program:
    layer = Dense("layer1", np.ones((2, 4), np.int64), Encoding("unsigned", 2), 2)
    return compile_network(Network((layer,)), GEOMETRY)


@pytest.fixture
def overwriting() -> Program:
    """A program of three layers in so little memory that the third writes where the input was."""
    thresholds = Thresholds(np.tile([1, 2, 3], (4, 1)), np.zeros(4, bool))
    layers = [
        Dense(f"layer{n}", np.ones((4, 4), np.int64), Encoding("unsigned", 2), 2, thresholds if n < 3 else None)
        for n in range(1, 4)
    ]
    program = compile_network(Network(tuple(layers)), GEOMETRY.replace(act_depth=3))
    assert [result.overwritten for result in program.results] == [False, False, False]
    assert program.layers[1].results[0].place == program.input
    return program


def loaded(program: Program) -> tuple[FakeEngine, EngineClient]:
    engine = FakeEngine(program.geometry, cycles=program.cycles)
    client = EngineClient(engine)
    client.load(program)
    engine.commands.clear()
    return engine, client


def test_lost_answers_are_asked_for_again(program: Program) -> None:
    engine = FakeEngine()
    engine.lose.update({Command.WRITE: 4, Command.IDENTIFY: 1, Command.RESET: 1, Command.READ: 2})
    EngineClient(engine).load(program)


def test_run_without_answer_is_begun_anew_with_its_inputs(program: Program) -> None:
    engine, client = loaded(program)
    engine.lose = Counter({Command.RUN: 1})
    client.run(np.zeros(4, int))
    begun = [Command.WRITE, Command.RUN]
    assert engine.commands == [*begun, Command.RESET, Command.READ, *begun, Command.STATUS]
    engine.lose = Counter({Command.RUN: 100})
    with pytest.raises(NoAnswerError, match=r"\AEngine does not answer RUN, asked 1 time\Z"):
        client.run(np.zeros(4, int))


@pytest.mark.parametrize("looks", [range(10**9), [5] * 10**5], ids=["too long", "stuck"])
def test_run_that_does_not_end_is_given_up(looks, program: Program) -> None:
    engine, client = loaded(program)
    engine.looks = iter(looks)
    with pytest.raises(LinkError, match=r"\AEngine must finish its run within \d+ cycles, which it does not: it was"):
        client.run(np.zeros(4, int))
    assert Command.RESET in engine.commands[-2:]


def test_run_of_other_cycles_is_not_believed(program: Program) -> None:
    """As after a reset in the middle."""
    engine, client = loaded(program)
    engine.takes = program.cycles - 1
    with pytest.raises(LinkError, match=rf"\AEngine must run for {program.cycles} cycles, but did for \d+\Z"):
        client.run(np.zeros(4, int))
    assert engine.commands.count(Command.RUN) == 5


def test_repeated_run_is_begun_anew_where_it_overwrote_its_inputs(program: Program, overwriting: Program) -> None:
    for tell in (True, False):
        engine, client = loaded(overwriting)
        engine.tell = tell
        engine.twice[Command.RUN] = 1
        client.run(np.zeros(4, int))
        assert engine.commands.count(Command.RUN) == 3, "two of one start, and the one that counts"
        engine, client = loaded(program)
        engine.twice[Command.RUN] = 1
        client.run(np.zeros(4, int))
        assert engine.commands.count(Command.RUN) == 2, "inputs are still in their place"


def test_busy_engine_is_reset_and_other_refusals_are_reported(program: Program) -> None:
    engine, client = loaded(program)
    engine.refuse[Command.RUN] = Status.BUSY
    with pytest.raises(LinkError, match=r"\AEngine refuses RUN: BUSY\Z"):
        client.run(np.zeros(4, int))
    assert engine.commands.count(Command.RUN) == 5
    engine.commands.clear()
    engine.refuse[Command.RUN] = Status.BAD_ADDRESS
    with pytest.raises(LinkError, match=r"\AEngine refuses RUN: BAD_ADDRESS\Z"):
        client.run(np.zeros(4, int))
    assert engine.commands.count(Command.RUN) == 1


@pytest.mark.parametrize("depth", [0, 1], ids=["full", "a word free"])
def test_lost_memory_is_noticed(depth: int, overwriting: Program) -> None:
    """Whatever was lost: the seal is gone with it. In a full program memory it shares a word with the end."""
    words = len(overwriting.images[Region.PROGRAM])
    geometry = overwriting.geometry.replace(program_depth=words + depth)
    extended = compile_network(overwriting.network, geometry)
    engine, client = loaded(extended)
    seal = engine.memory[words - 1 + depth]
    assert seal and seal % 16 == END_WORD
    client.run(np.zeros(4, int))
    client.boundaries()
    engine.memory.clear()
    for read in (client.boundaries, client.outputs, lambda: client.integers(extended.results[0])):
        client._program = extended
        with pytest.raises(LostMemoryError, match=r"\AEngine lost its memory, .*: load the program again, and repeat"):
            read()
    with pytest.raises(LinkError, match=r"\ANo program is loaded"):
        client.run(np.zeros(4, int))


def bring(engine: FakeEngine, program: Program) -> None:
    """Put a program into an engine as a board does at power-up."""
    engine.memory.clear()
    for region, words in program.sealed(program.signature).items():
        engine.memory.update({region << 24 | address: word for address, word in enumerate(words)})


def test_program_that_the_board_brought_is_sealed_and_not_loaded(program: Program) -> None:
    engine = FakeEngine(cycles=program.cycles)
    bring(engine, program)
    brought = dict(engine.memory)
    client = EngineClient(engine)
    seen = []
    client.load(program, lambda done, total: seen.append(done == total))
    assert seen == [True]
    place = Region.PROGRAM << 24 | program.seal_place
    changed = {address for address in brought if engine.memory[address] != brought[address]}
    assert (changed, engine.commands.count(Command.WRITE)) == ({place}, 1)
    client.run(np.zeros(4, int))
    bring(engine, program)  # a power cycle: all is there, but not what the run made
    with pytest.raises(LostMemoryError):
        client.outputs()


@pytest.mark.parametrize("doubt", ["another network", "damaged frame", "another host", "a hole"])
def test_program_that_may_not_be_whole_is_loaded(doubt: str, program: Program) -> None:
    engine = FakeEngine(cycles=program.cycles)
    layer = program.network.layers[0]
    other = compile_network(Network((replace(layer, codes=layer.codes - 1),)), GEOMETRY)
    assert other.images[Region.PROGRAM] == program.images[Region.PROGRAM]
    bring(engine, other if doubt == "another network" else program)
    engine._reader.dropped = int(doubt == "damaged frame")
    if doubt == "another host":
        EngineClient(engine).load(program)
    if doubt == "a hole":
        engine.memory[Region.PROGRAM << 24] ^= 1
    engine.commands.clear()
    EngineClient(engine).load(program)
    assert engine.commands.count(Command.WRITE) > 1
    for region, words in program.images.items():
        wanted = words[:-1] if region is Region.PROGRAM else words
        assert [engine.memory[region << 24 | address] for address in range(len(wanted))] == wanted


def test_half_loaded_program_cannot_run(program: Program) -> None:
    engine, client = loaded(program)
    engine.lose = Counter({Command.WRITE: 100})
    with pytest.raises(NoAnswerError):
        client.load(program)
    with pytest.raises(LinkError, match=r"\ANo program is loaded"):
        client.run(np.zeros(4, int))


def test_babble_is_given_up(program: Program) -> None:
    engine = FakeEngine()
    engine.babble = b"login: "
    engine.lose = Counter({Command.IDENTIFY: 100})
    with pytest.raises(NoAnswerError, match=r"\AEngine does not answer IDENTIFY, asked 5 times\Z"):
        EngineClient(engine).load(program)


def test_slow_babble_is_given_up(program: Program) -> None:
    class Slow(FakeEngine):
        def read(self) -> bytes:
            time.sleep(0.02)
            return b"x"

    begun = time.monotonic()
    with pytest.raises(NoAnswerError):
        EngineClient(Slow(), limit=0.1).identify()
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "identity, message",
    [
        (b"hello", "What answers is no engine of evenstep: it says b'hell'"),
        (MAGIC + bytes([VERSION + 1]) + bytes(16), f"Engine must speak version {VERSION} of the link, not"),
        (MAGIC + bytes([VERSION]) + bytes(16), f"Engine at here is {bytes(16).hex()}, but the manifest describes"),
    ],
)
def test_engine_that_is_not_ours(identity: bytes, message: str) -> None:
    engine = FakeEngine()
    engine.identity = identity
    with pytest.raises(LinkError, match=rf"\A{re.escape(message)}"):
        Engine(engine, GEOMETRY, name="here")
    assert engine.closed


def test_silent_port() -> None:
    engine = FakeEngine()
    engine.lose = Counter({Command.IDENTIFY: 100})
    with pytest.raises(LinkError, match=r"\ANo engine answers at here: check that it is the right port"):
        Engine(engine, GEOMETRY, name="here")
    assert engine.closed


def test_engine_takes_any_number_of_positions(program: Program) -> None:
    line = FakeEngine(cycles=program.cycles)
    with Engine(line, GEOMETRY) as engine:
        with pytest.raises(LinkError, match=r"\ANo network is loaded: call load\(\) first"):
            engine.infer(np.zeros((1, 4), int))
        engine.load(program.network)
        assert engine.infer(np.zeros((0, 4), int)).shape == (0, 2)
        assert (engine.cycles, engine.runs) == (0, 0)
        calls: list[tuple[int, int]] = []
        found = engine.infer(np.zeros((3, 2, 2), np.uint8), lambda *figures: calls.append(figures))
        assert found.shape == (3, 2) and calls == [(1, 3), (2, 3), (3, 3)]
        assert (engine.cycles, engine.runs) == (3 * program.cycles, 3) and engine.seconds > 0
        assert engine.infer(np.zeros(4, int)).shape == (1, 2)
        assert {name: codes.shape for name, codes in engine.boundaries(np.zeros((2, 4), int)).items()} == {
            "layer1": (2, 2)
        }
        for inputs, error in (
            (np.zeros((2, 5), int), r"Inputs must have shape \(positions, 4\), not \(2, 5\)"),
            (np.full((2, 4), 4), r"Input codes must be from 0 to 3, not 4 to 4"),
            (np.full((2, 4), -1), r"Input codes must be from 0 to 3, not -1 to -1"),
            (0, r"Inputs must have shape"),
        ):
            with pytest.raises(ValueError, match=rf"\A{error}"):
                engine.infer(inputs)
        with pytest.raises(TypeError, match=r"\AInputs must be integer codes, not float64"):
            engine.infer(np.zeros((1, 4)))
    assert line.closed


def test_engine_that_loses_its_memory_is_loaded_again(program: Program) -> None:
    class Forgetful(FakeEngine):
        forget = 1

        def obey(self, command: Command, body: bytes) -> bytes:
            if command is Command.RUN and self.forget:
                self.forget -= 1
                self.memory.clear()
            return super().obey(command, body)

    line = Forgetful(cycles=program.cycles)
    with Engine(line, GEOMETRY) as engine:
        engine.load(program)
        engine.infer(np.zeros((2, 4), int))
        assert line.commands.count(Command.IDENTIFY) == 3, "opened, loaded and loaded again"
        line.forget = 10
        with pytest.raises(LostMemoryError):
            engine.infer(np.zeros((2, 4), int))


def test_manifest_must_be_an_engines(tmp_path) -> None:
    generate_block("dot", GEOMETRY, tmp_path)
    with pytest.raises(ValueError, match=r"\AManifest must be that of an engine, not of the block 'dot'"):
        Engine.open("tcp:127.0.0.1:9", tmp_path / "evenstep_dot.json")
    with pytest.raises(TypeError, match=r"\AManifest must be a path, a Manifest or a Geometry, not int"):
        Engine.open("tcp:127.0.0.1:9", 3)  # type: ignore[arg-type]
