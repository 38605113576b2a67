"""Torture of the link: whole sessions with a simulated engine on lines and boards that fail.

A session opens the engine, loads a random network that overwrites its inputs or does not, runs random inputs and reads
every boundary. It may end right, or with a `LinkError` of one line. Anything else is a failure of the host side: a
wrong result that was given as right, another error, or no end.
"""

import itertools
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from evenstep.compiler import Placement, Program
from evenstep.host import Engine, LinkError
from evenstep.spec import Geometry
from evenstep_sim.networks import random_program
from evenstep_sim.virtual.faults import Faults, FaultyTransport
from evenstep_sim.virtual.verilated import VerilatedTransport

__all__ = ["GEOMETRY", "MIXES", "Tally", "Torture"]

#: Small, so that a session takes milliseconds; activations so few that some networks overwrite their inputs.
GEOMETRY = Geometry(
    rows=2, columns=2, lanes=4, weight_depth=256, act_depth=16, result_depth=16, threshold_depth=64, program_depth=128
)

_GENTLE = Faults(
    flip=0.01, drop=0.01, repeat=0.01, noise=0.01, lose=0.01, double=0.02, stall=0.01, reset=0.002, power=0.002
)
#: What is tried: each fault alone, and all of them together.
MIXES: dict[str, Faults] = {
    "flipped bits": Faults(flip=0.1),
    "dropped bytes": Faults(drop=0.1),
    "repeated bytes": Faults(repeat=0.1),
    "noise between": Faults(noise=0.1),
    "lost frames": Faults(lose=0.1),
    "repeated frames": Faults(double=0.3),
    "lost and repeated frames": Faults(lose=0.1, double=0.3),
    "late frames": Faults(stall=0.1),
    "resets": Faults(reset=0.02),
    "power cycles": Faults(power=0.02),
    "all together": _GENTLE,
    "all, ten times": replace(_GENTLE, **{name: 10 * rate for name, rate in vars(_GENTLE).items()}),
}
# Questions after which a session counts as one without an end.
_ENDLESS = 20_000
# Random networks of each kind, of which every session takes one.
_NETWORKS = 12
#: Cycles from byte to byte of the lines that are tried: as fast as the engine, and so slow that it runs meanwhile.
PACES = (1, 20)


@dataclass
class Tally:
    """Counts of sessions.

    Parameters
    ----------
    right, reported : int
        Sessions that gave the right integers, and that ended with a `LinkError`.
    wrong : list of str
        What else happened.
    reasons : Counter
        Messages of the sessions that ended with one, without their figures.
    faults : Counter
        Faults made, by name.
    bytes : int
        Bytes that passed, of both directions.
    longest : float
        Seconds of the longest session.
    """

    right: int = 0
    reported: int = 0
    wrong: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    longest: float = 0.0

    @property
    def sessions(self) -> int:
        """All of them."""
        return self.right + self.reported + len(self.wrong)

    def add(self, other: "Tally") -> None:
        """Count what `other` counted, too."""
        self.right += other.right
        self.reported += other.reported
        self.wrong += other.wrong
        self.reasons += other.reasons
        self.faults += other.faults
        self.bytes += other.bytes
        self.longest = max(self.longest, other.longest)


class Torture:
    """Sessions on one simulated board after another; the same seed gives the same ones.

    Parameters
    ----------
    program : Path
        Engine of `GEOMETRY`, as `build_engine` returned it.
    seed : int
        Of networks, inputs and faults.
    """

    def __init__(self, program: Path, *, seed: int):
        self._program = program
        self._seed = seed
        rng = np.random.default_rng(seed)
        #: Networks that leave their inputs in place, and networks that overwrite them.
        self._networks = {kind: [_draw_program(rng, kind) for _ in range(_NETWORKS)] for kind in (False, True)}

    def noise(self, count: int) -> Tally:
        """Send `count` random bytes, with a clean session after every part of them."""
        tally = Tally()
        rng = self._rng("noise")
        board = VerilatedTransport(self._program)
        part = max(1, count // 20)
        sent = 0
        while sent < count:
            size = min(part, count - sent)
            board.write(rng.randbytes(size))
            sent += size
            self._session(FaultyTransport(board, Faults(), rng), rng, tally)
        tally.bytes += count
        board.close()
        return tally

    def mix(self, name: str, sessions: int) -> Tally:
        """Run `sessions` sessions with the faults of `MIXES`, one after the other on the same boards."""
        return self.run(MIXES[name], sessions)

    def run(
        self, faults: Faults, sessions: int, *, paces: tuple[int, ...] = PACES, overwriting: bool | None = None
    ) -> Tally:
        """Run `sessions` sessions with `faults`, on a board for each of `paces`, which take turns."""
        tally = Tally()
        rng = self._rng(str(faults))
        boards = [VerilatedTransport(self._program, pace=pace) for pace in paces]
        for number in range(sessions):
            line = FaultyTransport(boards[number % len(boards)], faults, rng)
            self._session(line, rng, tally, overwriting=overwriting)
        for board in boards:
            board.close()
        return tally

    def strikes(self, event: str, *, every: int = 1) -> Tally:
        """Let `event` (``"cut"``, ``"reset"`` or ``"power"``) fall once in a session, after every `every`-th byte.

        After each, a clean session of another network must be right.
        """
        tally = Tally()
        board = VerilatedTransport(self._program)
        for overwriting in (False, True):
            for at in itertools.count(0, every):
                # The same session each time, so that the strike reaches every byte of it. How long it is depends on
                # what the board has been through, so its end is where the strike does not fall any more.
                rng = self._rng(f"struck {overwriting}")
                line = FaultyTransport(board, Faults(), rng, strike=(event, at))
                struck = Tally()
                self._session(line, rng, struck, overwriting=overwriting)
                if not line.struck:
                    break
                tally.add(struck)
                after, rng = Tally(), self._rng(f"after {at}")
                self._session(FaultyTransport(board, Faults(), rng), rng, after)
                if not after.right:
                    tally.wrong.append(f"a session after {event} at byte {at} failed: {after.wrong}")
                tally.faults[event] += 1
        board.close()
        return tally

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")

    def _session(
        self, line: FaultyTransport, rng: random.Random, tally: Tally, *, overwriting: bool | None = None
    ) -> None:
        """Run a session on `line`, and count how it ended."""
        numbers = np.random.default_rng(rng.getrandbits(64))
        kind = bool(rng.getrandbits(1)) if overwriting is None else overwriting
        program = rng.choice(self._networks[kind])
        inputs = numbers.integers(0, 2**program.network.input_bits, (3, program.network.inputs))
        names = [result.name for result in program.results]
        expected = dict(zip(names, program.boundaries(inputs), strict=True))
        begun = time.perf_counter()
        try:
            with Engine(_Bounded(line), program.geometry, rng=rng) as engine:
                engine.load(program)
                found = engine.boundaries(inputs)
                wrong = [name for name, codes in found.items() if not np.array_equal(codes, expected[name])]
                if wrong or names[-1] not in found:
                    tally.wrong.append(f"wrong integers after {', '.join(wrong)} of {program.network.name}")
                else:
                    tally.right += 1
        except LinkError as error:
            if len(str(error).splitlines()) == 1:
                tally.reported += 1
                tally.reasons[re.sub(r"\d+", "N", str(error))] += 1
            else:
                tally.wrong.append(f"an error of several lines: {error}")
        except Exception as error:  # whatever it is, it is what the torture looks for
            tally.wrong.append(f"{type(error).__name__}: {error}")
        tally.longest = max(tally.longest, time.perf_counter() - begun)
        tally.faults.update(line.made)
        tally.bytes += line.passed


class _Bounded:
    """A transport on which a session without an end is an error."""

    def __init__(self, line: FaultyTransport):
        self._line = line
        self.read = line.read
        self.close = line.close

    def write(self, data: bytes) -> None:
        """Send `data`."""
        if self._line.writes > _ENDLESS:
            raise AssertionError(f"a session must end, but goes on after {_ENDLESS} questions")
        self._line.write(data)


def _draw_program(rng: np.random.Generator, overwriting: bool) -> Program:
    """A random program that overwrites its inputs, or does not."""
    while True:
        program = random_program(GEOMETRY, rng)
        hit = any(
            isinstance(result.place, Placement) and result.place.meets(program.input) for result in program.results
        )
        if hit == overwriting:
            return program
