"""Client of an engine: loads a program, runs it, and reads what it made, without ever taking wrong for right.

What the line may do to a session, and what keeps results right all the same:

* Damaged or lost frames. A checksum covers each; the engine obeys none of a damaged one. What is not answered is asked
  again: writing twice writes the same, and reading changes nothing.
* A run whose start is not answered may have begun or not. It is given up, and begun anew from its inputs, which later
  layers may have overwritten.
* A repeated RUN. Where inputs are still in their place after a run, the second run makes what the first did. Where they
  are not, its results would be wrong: there a start carries a damaged frame behind it, which the engine counts, so that
  one start is told from two; a second answer to RUN, or a damaged one, is taken as a sign of a second start too.
* A reset of the engine. A run takes exactly the cycles that the compiler predicted, or is begun anew.
* A power cycle, or another host. Loading begins with a random number, the seal, in a word of the program memory that
  no run touches. Results count only if the seal is still there after they were read.

A program that a board brings with it at power-up is not loaded again, but sealed (see `Program.sealed`).
"""

import math
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from evenstep.compiler import Placement, Program, Result, WidePlacement
from evenstep.host.exchange import Exchange
from evenstep.host.transport import LinkError, LostMemoryError, NoAnswerError, RefusedError, Transport
from evenstep.link.protocol import FLAG, MAGIC, MAX_WORDS, VERSION, Command, Region, Status

__all__ = ["EngineClient", "RunStatus"]

# Times that a run is begun before it is given up.
_STARTS = 5
# Looks at an engine whose cycles do not advance, after which its run is given up.
_STUCK = 1000
# A frame too short to be one: the engine drops and counts it.
_MARKER = bytes([0, FLAG])


class _DisturbedError(LinkError):
    """A run did not go as it should; begun anew, it may."""


@dataclass(frozen=True)
class RunStatus:
    """State of an engine.

    Parameters
    ----------
    busy : bool
        A program runs.
    dropped : int
        Damaged frames that the engine dropped. One belongs to each start of a program that overwrites its inputs.
    cycles, steps : int
        Cycles of the last run, and steps that its array took.
    """

    busy: bool
    dropped: int
    cycles: int
    steps: int


class EngineClient:
    """Client of one engine.

    Parameters
    ----------
    transport : Transport
        Closed with the client, which is a context manager.
    rng : random.Random, optional
        Where tags begin, and what seals are; left out: the system's random numbers.
    limit : float
        Seconds that an answer may take, however much else is heard.

    Raises
    ------
    LinkError
        From any method: the engine is silent, refuses a command, or is gone.
    """

    def __init__(self, transport: Transport, *, rng: random.Random | None = None, limit: float = 60.0):
        self._transport = transport
        self._rng = rng or random.SystemRandom()
        self._exchange = Exchange(transport, tag=self._rng.randrange(256), limit=limit)
        self._program: Program | None = None
        self._seal = (0, 0)

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
        body = self._exchange.ask(Command.IDENTIFY)
        if len(body) != 21 or body[:4] != MAGIC:
            raise LinkError(f"What answers is no engine of evenstep: it says {body[:4]!r}")
        if body[4] != VERSION:
            raise LinkError(f"Engine must speak version {VERSION} of the link, not {body[4]}")
        return body[5:]

    def status(self) -> RunStatus:
        """State of the engine and counters of its last run."""
        body = self._exchange.ask(Command.STATUS)
        if len(body) != 13:
            raise LinkError(f"Engine must answer STATUS with 13 bytes, not {len(body)}")
        busy, *numbers = struct.unpack("<BIII", body)
        return RunStatus(bool(busy), *numbers)

    def reset(self) -> None:
        """Give up a run; memories keep what they hold."""
        self._exchange.ask(Command.RESET)

    def write(self, region: Region, address: int, words: list[int]) -> None:
        """Write 32-bit words from `address` on."""
        for start in range(0, len(words), MAX_WORDS):
            part = words[start : start + MAX_WORDS]
            self._exchange.ask(Command.WRITE, struct.pack(f"<{1 + len(part)}I", region << 24 | address + start, *part))

    def read(self, region: Region, address: int, count: int) -> list[int]:
        """Read `count` 32-bit words from `address` on."""
        words: list[int] = []
        while len(words) < count:
            part = min(MAX_WORDS, count - len(words))
            body = self._exchange.ask(Command.READ, struct.pack("<IB", region << 24 | address + len(words), part))
            if len(body) != 4 * part:
                raise LinkError(f"Engine must answer READ with {4 * part} bytes, not {len(body)}")
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
        resident = self._is_resident(program)
        images = program.sealed(self._rng.randrange(1, 2**28))
        self._seal = (program.seal_place, images[Region.PROGRAM][program.seal_place])
        self.write(Region.PROGRAM, self._seal[0], [self._seal[1]])
        total = sum(len(words) for words in images.values())
        done = total if resident else 0
        if resident and progress:
            progress(done, total)
        for region, words in () if resident else images.items():
            banks = program.geometry.rows if region is Region.ACTIVATIONS else 1
            for start in range(0, len(words), MAX_WORDS):
                part = words[start : start + MAX_WORDS]
                for bank in range(banks):
                    self.write(region, bank * program.bank_words(region) + start, part)
                done += len(part)
                if progress:
                    progress(done, total)
        self._check_seal()
        self._program = program

    def _is_resident(self, program: Program) -> bool:
        """Whether the engine has had `program` since power-up, whole, and no host has loaded another.

        Any damaged frame may have been one of those that brought it from a board's flash memory.
        """
        words = program.sealed(program.signature)[Region.PROGRAM]
        return not self.status().dropped and self.read(Region.PROGRAM, 0, len(words)) == words

    def _check_seal(self) -> None:
        place, seal = self._seal
        if self.read(Region.PROGRAM, place, 1) != [seal]:
            self._program = None
            raise LostMemoryError(
                "Engine lost its memory, by a power cycle or another host: load the program again, and repeat"
            )

    def run(self, inputs: Any) -> RunStatus:
        """Run the loaded program on input codes of shape (batch or fewer, inputs), one vector for each row.

        Rows without a vector compute on what their memory holds; where they are neighbours, all take the same one. A
        run that something disturbs is begun anew, a few times.
        """
        program = self.program
        vectors = np.atleast_2d(np.asarray(inputs))
        if not 1 <= len(vectors) <= program.geometry.batch:
            raise ValueError(
                f"Input vectors must be from 1 to the {program.geometry.batch} of a run, not {len(vectors)}"
            )
        words = [bank for vector in vectors for bank in program.input_words(vector)]
        base = program.host_address(Region.ACTIVATIONS, program.input.base)
        for start in range(_STARTS):
            try:
                for bank, bank_words in enumerate(words):
                    self.write(Region.ACTIVATIONS, bank * program.bank_words(Region.ACTIVATIONS) + base, bank_words)
                return self._run_once(program)
            except (NoAnswerError, RefusedError, _DisturbedError) as error:
                refused = isinstance(error, RefusedError) and error.status != Status.BUSY
                self.reset()
                self._check_seal()
                if refused or start == _STARTS - 1:
                    raise
        raise AssertionError("the last start returns or raises")

    def _run_once(self, program: Program) -> RunStatus:
        """Start the program, and wait for its end."""
        exchange = self._exchange
        repeatable = not _overwrites_input(program)
        dropped = 0 if repeatable else self.status().dropped + 1
        answered, damaged = exchange.runs_answered + 1, exchange.damaged
        exchange.ask(Command.RUN, struct.pack("<I", 0), tries=1, trailer=b"" if repeatable else _MARKER)
        status = self._finish(program)
        # What external memory takes to answer, nobody can say; that a run is shorter than it can be, says enough.
        if status.cycles < program.least_cycles or (status.cycles != program.cycles and not program.external):
            raise _DisturbedError(f"Engine must run for {program.cycles} cycles, but did for {status.cycles}")
        once = (exchange.runs_answered, exchange.damaged, status.dropped) == (answered, damaged, dropped)
        if not repeatable and not once:
            raise _DisturbedError("Line to the engine is too noisy to tell whether a run began once or twice")
        return status

    def _finish(self, program: Program) -> RunStatus:
        """Wait for the end of a run, and give up one that takes longer than it can."""
        seen, stuck = -1, 0
        while (status := self.status()).busy:
            stuck = stuck + 1 if status.cycles == seen else 0
            seen = status.cycles
            if (status.cycles > program.cycles and not program.external) or stuck > _STUCK:
                self.reset()
                raise _DisturbedError(
                    f"Engine must finish its run within {program.cycles} cycles, which it does not: it was reset"
                )
        return status

    def integers(self, result: Result, row: int = 0) -> np.ndarray:
        """Integers of a result of the loaded program after a run, in its shape."""
        integers = self._integers(result, row)
        self._check_seal()
        return integers

    def boundaries(self, row: int = 0) -> list[np.ndarray]:
        """Integers of every result of the last run, in order."""
        integers = [self._integers(result, row) for result in self.program.results]
        self._check_seal()
        return integers

    def outputs(self, rows: int = 1) -> np.ndarray:
        """What the network gives, of the first `rows` rows; shape (rows, *shape)."""
        integers = np.stack([self._integers(self.program.output, row) for row in range(rows)])
        self._check_seal()
        return integers

    def _integers(self, result: Result, row: int) -> np.ndarray:
        program, place = self.program, result.place
        if result.overwritten:
            memory = "activation memory" if isinstance(place, Placement) else "memory of wide numbers"
            raise ValueError(f"Integers of {result.name} are overwritten by later layers: use a larger {memory}")
        if isinstance(place, Placement):
            banks = range(row, row + place.layout.banks.banks)
            return place.layout.unpack([self._codes(place, bank) for bank in banks]).reshape(result.shape)
        if isinstance(place, WidePlacement):
            banks = range(row, row + place.banks.banks)
            return place.unpack([self._numbers(place, bank) for bank in banks]).reshape(result.shape)
        first = row * program.bank_words(Region.RESULTS) + place
        raw = self.read(Region.RESULTS, first, math.prod(result.shape))
        integers = _signed(raw, program.geometry.result_bits).reshape(result.shape)
        return (integers.T - result.excess).T if result.excess else integers

    def _codes(self, place: Placement, bank: int) -> list[int]:
        """Activation words of a tensor in a bank."""
        program = self.program
        lanes = program.host_address(Region.ACTIVATIONS, 1)
        base = bank * program.bank_words(Region.ACTIVATIONS) + place.base * lanes
        words = self.read(Region.ACTIVATIONS, base, place.layout.words * lanes)
        return [
            sum(word << 32 * lane for lane, word in enumerate(words[start : start + lanes]))
            for start in range(0, len(words), lanes)
        ]

    def _numbers(self, place: WidePlacement, bank: int) -> np.ndarray:
        """Wide numbers of a tensor in a bank."""
        first = bank * self.program.bank_words(Region.WIDE) + place.base
        return _signed(self.read(Region.WIDE, first, place.words), self.program.geometry.wide_bits)


def _signed(words: list[int], bits: int) -> np.ndarray:
    """Two's complement numbers of the low `bits` bits."""
    numbers = np.array(words, np.int64)
    return numbers - (numbers >> bits - 1 << bits)


def _overwrites_input(program: Program) -> bool:
    """Whether a layer writes where the input lies."""
    places = (result.place for result in program.results)
    return any(isinstance(place, Placement) and place.meets(program.input) for place in places)
