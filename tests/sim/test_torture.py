"""A small, seeded share of the torture of the link; `tests/benchmarks/link_torture.py` is the whole."""

import random

import pytest

import evenstep.host.client as client
from evenstep.generate import generate_block
from evenstep.host import EngineClient, LinkError
from evenstep_sim.virtual import Faults, FaultyTransport, build_engine
from evenstep_sim.virtual.torture import GEOMETRY, MIXES, Tally, Torture


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> Torture:
    folder = tmp_path_factory.mktemp("engine")
    manifest = generate_block("engine", GEOMETRY, folder)
    return Torture(build_engine(folder / f"{manifest.module}.json"), seed=1)


def check(tally: Tally) -> None:
    assert not tally.wrong, tally.wrong[:3]
    assert tally.sessions


def test_noise(torture: Torture) -> None:
    tally = torture.noise(100_000)
    check(tally)
    assert tally.right == tally.sessions, "noise that is over harms nobody"


@pytest.mark.parametrize("name", MIXES)
def test_mix(name: str, torture: Torture) -> None:
    tally = torture.mix(name, 16)
    check(tally)
    for fault, rate in vars(MIXES[name]).items():
        assert tally.faults[fault] == 0 or rate > 0
    assert sum(tally.faults.values()) > 0
    if name != "all, ten times":
        assert tally.right >= tally.sessions / 2, "what can be mended is mended"


@pytest.mark.parametrize("event", ["cut", "reset", "power"])
def test_strikes(event: str, torture: Torture) -> None:
    tally = torture.strikes(event, every=97)
    check(tally)
    mended = 0 if event == "cut" else tally.sessions
    assert tally.right == mended, "a cut ends a session; resets and power cycles are mended"


@pytest.mark.parametrize(
    "target, name, replacement, what",
    [
        (
            client,
            "_overwrites_input",
            lambda program: False,
            lambda t: t.run(Faults(double=0.5), 20, paces=(20,), overwriting=True),
        ),
        (EngineClient, "_check_seal", lambda self: None, lambda t: t.strikes("power", every=97)),
    ],
    ids=["runs are not counted", "seal is not checked"],
)
def test_torture_finds_a_client_without_its_guards(
    target, name: str, replacement, what, torture: Torture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, name, replacement)
    assert what(torture).wrong


class _Loop:
    """A board that gives back what it is sent."""

    def __init__(self) -> None:
        self.sent = b""
        self.events: list[tuple[str, int]] = []
        self._total = 0

    def write(self, data: bytes) -> None:
        self.sent += data
        self._total += len(data)

    def read(self) -> bytes:
        data, self.sent = self.sent, b""
        return data

    def press_reset(self) -> None:
        self.events.append(("reset", self._total))

    def cycle_power(self) -> None:
        self.events.append(("power", self._total))

    def close(self) -> None:
        raise AssertionError("a cable that is pulled closes no board")


def test_faults_are_what_they_are_called() -> None:
    data = bytes(range(100))

    def received(faults: Faults) -> bytes:
        board = _Loop()
        line = FaultyTransport(board, faults, random.Random(3))
        line.write(data)
        return board.sent

    assert received(Faults()) == data
    assert sum((a ^ b).bit_count() for a, b in zip(data, received(Faults(flip=1)), strict=True)) == 1
    shorter = received(Faults(drop=1))
    assert 0 < len(data) - len(shorter) <= 40 and shorter == bytes(sorted(shorter))
    longer = received(Faults(repeat=1))
    assert len(longer) > len(data) and sorted(set(longer)) == list(data)
    assert 0 < len(received(Faults(noise=1))) - len(data) <= 40
    assert received(Faults(lose=1)) == b""
    assert received(Faults(double=1)) == data * 2
    with pytest.raises(ValueError, match=r"\AFault flip must be from 0 to 1, not 2\Z"):
        Faults(flip=2)


def test_late_chunks_come_in_order() -> None:
    board = _Loop()
    line = FaultyTransport(board, Faults(stall=0.5), random.Random(3))
    for byte in range(50):
        line.write(bytes([byte]))
    assert board.sent == bytes(range(len(board.sent))) and len(board.sent) > 40
    assert line.made["stall"] > 10


@pytest.mark.parametrize("event", ["reset", "power"])
def test_strike_falls_at_its_byte(event: str) -> None:
    board = _Loop()
    line = FaultyTransport(board, Faults(), random.Random(3), strike=(event, 25))
    for _ in range(5):
        line.write(bytes(10))
    assert board.events == [(event, 25)]
    line.close()


def test_cut_line_is_dead() -> None:
    board = _Loop()
    line = FaultyTransport(board, Faults(), random.Random(3), strike=("cut", 15))
    line.write(bytes(10))
    for act in (lambda: line.write(bytes(10)), lambda: line.write(b"x"), line.read):
        with pytest.raises(LinkError, match=r"\AThe line was cut\Z"):
            act()
    assert len(board.sent) == 15
