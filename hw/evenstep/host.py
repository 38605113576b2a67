"""Host side of an engine: loads programs and runs them, over whatever carries the link's bytes.

The same code talks to a board and to a simulated engine; only the transport differs.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from evenstep.compiler import CompiledLayer, Program
from evenstep.link.protocol import (
    MAGIC,
    MAX_FRAME,
    MAX_WORDS,
    VERSION,
    Command,
    Frame,
    FrameReader,
    Region,
    Status,
    encode_frame,
)

__all__ = ["EngineClient", "LinkError", "NoAnswerError", "RunStatus", "Transport"]

_RETRIES = 3
# Bytes without an answer among them after which a try is given up: what talks is no engine, or the line is noise.
_BABBLE = 64 * MAX_FRAME
# Looks at an engine whose cycles do not advance, after which its run is given up.
_STUCK = 1000


class LinkError(RuntimeError):
    """The engine did not answer, or refused; the message is one line."""


class NoAnswerError(LinkError):
    """The engine did not answer."""


class Transport(Protocol):
    """Carries bytes to and from an engine."""

    def write(self, data: bytes) -> None:
        """Send `data`, all of it."""
        ...

    def read(self) -> bytes:
        """What has arrived, at least one byte; nothing if the engine stays silent for the transport's time limit."""
        ...

    def close(self) -> None:
        """Give the engine up."""
        ...


@dataclass(frozen=True)
class RunStatus:
    """State of an engine.

    Parameters
    ----------
    busy : bool
        A program runs.
    dropped : int
        Damaged frames that the engine dropped.
    cycles, steps : int
        Cycles of the last run, and steps that its array took.
    """

    busy: bool
    dropped: int
    cycles: int
    steps: int


class EngineClient:
    """Client of one engine.

    Every exchange but the start of a run is repeated a few times if no answer comes: the engine obeys none of a damaged
    frame, and writing twice writes the same. A run whose start is not answered is given up and begun anew, inputs
    included, since later layers may have overwritten them.

    Parameters
    ----------
    transport : Transport
        Closed with the client, which is a context manager.

    Raises
    ------
    LinkError
        From any method: the engine is silent, or refuses a command.
    """

    def __init__(self, transport: Transport):
        self._transport = transport
        self._reader = FrameReader()
        self._tag = 0
        self._program: Program | None = None

    def __enter__(self) -> "EngineClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    @property
    def program(self) -> Program:
        """The program that `load` loaded; `LinkError` before that."""
        if self._program is None:
            raise LinkError("No program is loaded: call load() first")
        return self._program

    def identify(self) -> bytes:
        """Configuration hash of the engine, 16 bytes."""
        body = self._ask(Command.IDENTIFY)
        if len(body) != 21 or body[:4] != MAGIC:
            raise LinkError(f"What answers is no engine of evenstep: it says {body[:4]!r}")
        if body[4] != VERSION:
            raise LinkError(f"Engine must speak version {VERSION} of the link, not {body[4]}")
        return body[5:]

    def status(self) -> RunStatus:
        """State of the engine and counters of its last run."""
        busy, *numbers = struct.unpack("<BIII", self._ask(Command.STATUS))
        return RunStatus(bool(busy), *numbers)

    def reset(self) -> None:
        """Give up a run; memories keep what they hold."""
        self._ask(Command.RESET)

    def write(self, region: Region, address: int, words: list[int]) -> None:
        """Write 32-bit words from `address` on."""
        for start in range(0, len(words), MAX_WORDS):
            part = words[start : start + MAX_WORDS]
            self._ask(Command.WRITE, struct.pack(f"<{1 + len(part)}I", region << 24 | address + start, *part))

    def read(self, region: Region, address: int, count: int) -> list[int]:
        """Read `count` 32-bit words from `address` on."""
        words: list[int] = []
        while len(words) < count:
            part = min(MAX_WORDS, count - len(words))
            body = self._ask(Command.READ, struct.pack("<IB", region << 24 | address + len(words), part))
            words += struct.unpack(f"<{part}I", body)
        return words

    def load(self, program: Program, progress: Callable[[int, int], None] | None = None) -> None:
        """Load a program into the engine it was compiled for; raises `LinkError` for any other engine.

        `progress` is called with words written and words in all.
        """
        found = self.identify()
        if found != program.geometry.hash:
            raise LinkError(
                f"Program was compiled for engine {program.geometry.hash.hex()}, but this is {found.hex()}: "
                "compile it for this engine's manifest"
            )
        self._program = None  # nothing can be run until all of the new one is there
        self.reset()  # a run that someone left behind would refuse every write
        total = sum(len(words) for words in program.images.values())
        done = 0
        for region, words in program.images.items():
            banks = program.geometry.rows if region is Region.ACTIVATIONS else 1
            for start in range(0, len(words), MAX_WORDS):
                part = words[start : start + MAX_WORDS]
                for bank in range(banks):
                    self.write(region, bank * program.bank_words(region) + start, part)
                done += len(part)
                if progress:
                    progress(done, total)
        self._program = program

    def run(self, inputs: Any) -> RunStatus:
        """Run the loaded program on input codes of shape (rows or fewer, inputs), one vector for each row.

        Rows without a vector compute on what their memory holds.
        """
        program = self.program
        vectors = np.atleast_2d(np.asarray(inputs))
        if not 1 <= len(vectors) <= program.geometry.rows:
            raise ValueError(
                f"Input vectors must be from 1 to the engine's {program.geometry.rows} rows, not {len(vectors)}"
            )
        words = [program.input_words(vector) for vector in vectors]
        base = program.host_address(Region.ACTIVATIONS, program.input.base)
        for attempt in range(_RETRIES):
            for row, row_words in enumerate(words):
                self.write(Region.ACTIVATIONS, row * program.bank_words(Region.ACTIVATIONS) + base, row_words)
            try:
                self._ask(Command.RUN, struct.pack("<I", 0), tries=1)
                break
            except NoAnswerError:
                self.reset()
                if attempt == _RETRIES - 1:
                    raise
        return self._finish(program.cycles)

    def _finish(self, cycles: int) -> RunStatus:
        """Wait for the end of a run that takes `cycles`, and give up one that does not end."""
        seen, stuck = -1, 0
        while (status := self.status()).busy:
            stuck = stuck + 1 if status.cycles == seen else 0
            seen = status.cycles
            if status.cycles > cycles or stuck > _STUCK:
                self.reset()
                raise LinkError(f"Engine must finish its run within {cycles} cycles, which it does not: it was reset")
        return status

    def codes(self, layer: CompiledLayer, row: int = 0) -> np.ndarray:
        """Output codes of a layer after a run, shape (outputs,); raw sums of a raw one."""
        program = self.program
        if layer.output is None:
            return self._results(program, layer, row)
        if layer.overwritten:
            raise ValueError(f"Codes of {layer.name} are overwritten by later layers: use a larger activation memory")
        lanes = program.host_address(Region.ACTIVATIONS, 1)
        base = row * program.bank_words(Region.ACTIVATIONS) + layer.output.base * lanes
        words = self.read(Region.ACTIVATIONS, base, layer.output.words * lanes)
        wide = [
            sum(word << 32 * lane for lane, word in enumerate(words[start : start + lanes]))
            for start in range(0, len(words), lanes)
        ]
        return program.output_codes(layer, wide)

    def boundaries(self, row: int = 0) -> list[np.ndarray]:
        """Integers after every layer of the last run, in order."""
        return [self.codes(layer, row) for layer in self.program.layers]

    def _results(self, program: Program, layer: CompiledLayer, row: int) -> np.ndarray:
        base = row * program.bank_words(Region.RESULTS) + layer.descriptor.channel_base
        raw = np.array(self.read(Region.RESULTS, base, layer.descriptor.outputs), np.int64)
        bits = program.geometry.result_bits
        return raw - (raw >> bits - 1 << bits)

    def _ask(self, command: Command, body: bytes = b"", *, tries: int = _RETRIES) -> bytes:
        """Body of the engine's answer to a command."""
        for _ in range(tries):
            self._tag = (self._tag + 1) % 256
            self._transport.write(encode_frame(Frame(self._tag, command, body)))
            heard = 0
            while heard <= _BABBLE and (data := self._transport.read()):
                heard += len(data)
                for frame in self._reader.feed(data):
                    # An answer to an earlier try carries an earlier tag.
                    if (frame.tag, frame.command) == (self._tag, command) and frame.body:
                        if frame.body[0] != Status.OK:
                            reason = Status(frame.body[0]).name if frame.body[0] in list(Status) else frame.body[0]
                            raise LinkError(f"Engine refuses {command.name}: {reason}")
                        return frame.body[1:]
        raise NoAnswerError(f"Engine does not answer {command.name} after {tries} tries")
