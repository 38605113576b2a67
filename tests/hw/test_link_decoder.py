"""The command decoder alone: one answer for each command, strobes of one cycle, and a state of one moment."""

import pytest
from amaranth.sim import Simulator

from evenstep.link.decoder import CommandDecoder
from evenstep.link.protocol import MAGIC, MAX_WORDS, VERSION, Command, Region, Status

_IDENTITY = bytes(range(100, 116))
_TAG = 77
_READ_CYCLES = 3


def _word(address: int) -> int:
    return 0x01020304 * (1 + address % 61)


def _ask(packet: bytes, *, ready: int = 1) -> tuple[bytes, dict[str, list[int]]]:
    """Answer to a packet, and the cycles in which strobes were high; the answer is taken in one of `ready` cycles.

    Counters count every cycle, and memory holds `_word` at each address.
    """
    dut = CommandDecoder(identity=_IDENTITY, sizes={Region.PROGRAM: 64}, read_cycles=_READ_CYCLES)
    strobes: dict[str, list[int]] = {"run": [], "reset": []}
    answer = b""

    async def bench(ctx) -> None:
        nonlocal answer
        left, cycle, last = list(packet), 0, False
        read: list[int] = []  # on its way, the word that was asked for last at the end
        ctx.set(dut.length, len(packet))
        while not last:
            assert cycle < 3000, "an answer must come"
            for counter in (dut.cycles, dut.steps, dut.dropped):
                ctx.set(counter, 0x10101010 + cycle)
            ctx.set(dut.i.valid, bool(left))
            ctx.set(dut.i.payload, {"data": left[0] if left else 0, "last": len(left) == 1})
            ctx.set(dut.o.ready, cycle % ready == 0)
            for name, found in strobes.items():
                if ctx.get(getattr(dut, name)):
                    found.append(cycle)
            if left and ctx.get(dut.i.ready):
                left.pop(0)
            if ctx.get(dut.o.valid) and cycle % ready == 0:
                answer += bytes([ctx.get(dut.o.payload.data)])
                last = bool(ctx.get(dut.o.payload.last))
            read.append(_word(ctx.get(dut.host.address)) if ctx.get(dut.host.read_enable) else 0)
            await ctx.tick()
            cycle += 1
            # There in one cycle alone.
            ctx.set(dut.host.read_data, read[-_READ_CYCLES] if len(read) >= _READ_CYCLES else 0)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return answer, strobes


@pytest.mark.parametrize("ready", [1, 5])
def test_identity(ready: int) -> None:
    answer, strobes = _ask(bytes([_TAG, Command.IDENTIFY]), ready=ready)
    assert answer == bytes([_TAG, Command.IDENTIFY, Status.OK]) + MAGIC + bytes([VERSION]) + _IDENTITY
    assert strobes == {"run": [], "reset": []}


@pytest.mark.parametrize("ready", [1, 5])
@pytest.mark.parametrize("words", [1, 3, MAX_WORDS])
def test_words_of_memory(words: int, ready: int) -> None:
    answer, strobes = _ask(bytes([_TAG, Command.READ, 2, 0, 0, Region.PROGRAM, words]), ready=ready)
    body = b"".join(_word(address).to_bytes(4, "little") for address in range(2, 2 + words))
    assert answer == bytes([_TAG, Command.READ, Status.OK]) + body
    assert strobes == {"run": [], "reset": []}


@pytest.mark.parametrize("ready", [1, 5])
def test_state_is_of_one_moment(ready: int) -> None:
    """Though counters go on while their bytes leave."""
    answer, _ = _ask(bytes([_TAG, Command.STATUS]), ready=ready)
    assert answer[:4] == bytes([_TAG, Command.STATUS, Status.OK, 0])
    dropped, cycles, steps = (int.from_bytes(answer[4 + 4 * n : 8 + 4 * n], "little") for n in range(3))
    assert len(answer) == 16 and dropped == cycles == steps and 0x10101010 < cycles < 0x10101018


@pytest.mark.parametrize(
    ("packet", "status", "strobes"),
    [
        (bytes([_TAG, Command.RESET]), Status.OK, {"run": 0, "reset": 1}),
        (bytes([_TAG, Command.RUN, 3, 0, 0, Region.PROGRAM]), Status.OK, {"run": 1, "reset": 0}),
        (bytes([_TAG, Command.RUN, 64, 0, 0, Region.PROGRAM]), Status.BAD_ADDRESS, {"run": 0, "reset": 0}),
        (bytes([_TAG, Command.RESET, 0]), Status.BAD_LENGTH, {"run": 0, "reset": 0}),
        (bytes([_TAG, 99]), Status.UNKNOWN_COMMAND, {"run": 0, "reset": 0}),
    ],
)
def test_strobes(packet: bytes, status: Status, strobes: dict[str, int]) -> None:
    """One cycle each, and none where a command is refused."""
    answer, found = _ask(packet)
    assert answer == bytes([_TAG, packet[1], status])
    assert {name: len(cycles) for name, cycles in found.items()} == strobes
