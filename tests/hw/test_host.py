"""The client of the link on lines that lose, babble and lie; the engine is a few lines of Python."""

import struct

import numpy as np
import pytest

from evenstep.compiler import Program, compile_network
from evenstep.host import EngineClient, LinkError, NoAnswerError
from evenstep.link.protocol import MAGIC, VERSION, Command, Frame, FrameReader, encode_frame
from evenstep.spec import Dense, Encoding, Geometry, Network

GEOMETRY = Geometry(columns=2, lanes=4)


class FakeEngine:
    """Answers every command; `lose` drops the next answers to a command, `busy` never ends a run."""

    def __init__(self) -> None:
        self.commands: list[int] = []
        self.lose: dict[Command, int] = {}
        self.cycles = iter([0])
        self.babble = b""
        self._reader = FrameReader()
        self._out = b""

    def write(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            command = Command(frame.command)
            self.commands.append(command)
            body = b""
            if command is Command.IDENTIFY:
                body = MAGIC + bytes([VERSION]) + GEOMETRY.hash
            elif command is Command.STATUS:
                cycles = next(self.cycles, None)
                body = struct.pack("<BIII", cycles is not None, 0, cycles or 0, 0)
            if self.lose.get(command, 0):
                self.lose[command] -= 1
            else:
                self._out += encode_frame(Frame(frame.tag, command, b"\0" + body))

    def read(self) -> bytes:
        data, self._out = self._out, self.babble
        return data

    def close(self) -> None:
        pass


@pytest.fixture
def program() -> Program:
    layer = Dense("layer1", np.ones((2, 4), np.int64), Encoding("unsigned", 2), 2)
    return compile_network(Network((layer,)), GEOMETRY)


def test_lost_answers_are_asked_for_again(program: Program) -> None:
    engine = FakeEngine()
    engine.lose = {Command.WRITE: 2, Command.IDENTIFY: 1}
    EngineClient(engine).load(program)


def test_run_without_answer_is_begun_anew_with_its_inputs(program: Program) -> None:
    engine = FakeEngine()
    client = EngineClient(engine)
    client.load(program)
    engine.commands.clear()
    engine.lose = {Command.RUN: 1}
    client.run(np.zeros(4, int))
    assert engine.commands[:5] == [Command.WRITE, Command.RUN, Command.RESET, Command.WRITE, Command.RUN]
    engine.lose = {Command.RUN: 3}
    with pytest.raises(NoAnswerError, match=r"\AEngine does not answer RUN after 1 tries\Z"):
        client.run(np.zeros(4, int))


@pytest.mark.parametrize("cycles", [iter(range(10**9)), iter([5] * 10**5)], ids=["too long", "stuck"])
def test_run_that_does_not_end_is_given_up(cycles, program: Program) -> None:
    engine = FakeEngine()
    client = EngineClient(engine)
    client.load(program)
    engine.cycles = cycles
    with pytest.raises(LinkError, match=r"\AEngine must finish its run within \d+ cycles, which it does not: it was"):
        client.run(np.zeros(4, int))
    assert engine.commands[-1] == Command.RESET


def test_half_loaded_program_cannot_run(program: Program) -> None:
    engine = FakeEngine()
    client = EngineClient(engine)
    client.load(program)
    engine.lose = {Command.WRITE: 100}
    with pytest.raises(NoAnswerError):
        client.load(program)
    with pytest.raises(LinkError, match=r"\ANo program is loaded"):
        client.run(np.zeros(4, int))


def test_babble_is_given_up(program: Program) -> None:
    engine = FakeEngine()
    engine.babble = b"login: "
    engine.lose = {Command.IDENTIFY: 100}
    with pytest.raises(NoAnswerError, match=r"\AEngine does not answer IDENTIFY after 3 tries\Z"):
        EngineClient(engine).load(program)
