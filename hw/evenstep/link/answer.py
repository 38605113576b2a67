"""Answers: what goes back to the host for a command."""

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.link.frame import PACKET_BYTE
from evenstep.link.protocol import MAGIC, MAX_WORDS, VERSION, Command, Status

__all__ = ["ANSWER", "Answerer"]

_WORD = 4

#: What is to be answered: tag and command of the packet, what became of it, and how many words it reads.
ANSWER = data.StructLayout({"tag": 8, "command": 8, "status": Status, "words": 8})


class Answerer(wiring.Component):
    """Writes the packets of answers: tag, command and status, and what was asked for, where that was not refused.

    Bodies are sent word by word, whatever they come from, so that no byte is chosen out of many in one cycle. What
    changes while a program runs is that of one moment, before the answer's first byte.

    Parameters
    ----------
    identity : bytes
        16 bytes that `IDENTIFY` reports.
    read_cycles : int
        Cycles from a read of memory to its data, at least 1.

    Members
    -------
    i : In(stream)
        An answer, taken with the last byte of its packet.
    o : Out(stream)
        Packets.
    busy, dropped, cycles, steps : In
        What `STATUS` reports.
    read : Out(1)
        Strobe: the next word of memory is read.
    read_data : In(32)
        It, `read_cycles` later.
    """

    i: stream.Interface
    o: stream.Interface
    busy: Signal
    dropped: Signal
    cycles: Signal
    steps: Signal
    read: Signal
    read_data: Signal

    def __init__(self, *, identity: bytes, read_cycles: int):
        if len(identity) != 16:
            raise ValueError(f"Identity must be 16 bytes long, not {len(identity)}")
        self.identity = identity
        self.read_cycles = read_cycles
        super().__init__(
            {
                "i": In(stream.Signature(ANSWER)),
                "o": Out(stream.Signature(PACKET_BYTE)),
                "busy": In(1),
                "dropped": In(32),
                "cycles": In(32),
                "steps": In(32),
                "read": Out(1),
                "read_data": In(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        asked = self.i.payload
        # Bodies that need no memory. All of the state is taken by a strobe out of a register, as it can be anywhere.
        running = Cat(self.busy, Const(0, 7), self.dropped, self.cycles, self.steps)
        state = Signal.like(running, reset_less=True)
        report = Signal()
        m.d.sync += report.eq(0)
        with m.If(report):
            m.d.sync += state.eq(running)
        identity = MAGIC + bytes([VERSION]) + self.identity
        bodies = {
            Command.IDENTIFY: Const(int.from_bytes(identity, "little"), 8 * len(identity)),
            Command.STATUS: state,
        }

        kinds = {kind: Signal(name=kind.name.lower(), reset_less=True) for kind in (*bodies, Command.READ)}
        most = max(_WORD * MAX_WORDS, *(len(body) // 8 for body in bodies.values()))
        left = Signal(range(most + 1), reset_less=True)  # bytes of the body
        empty = Signal(reset_less=True)  # none are left
        last = Signal(reset_less=True)  # this is the last one
        # The next word of a body.
        group = Signal(range(max(len(_words(body)) for body in bodies.values())), reset_less=True)
        # What is sent next is chosen a cycle ahead, out of memory and bodies.
        source, word = Signal(8 * _WORD, reset_less=True), Signal(8 * _WORD, reset_less=True)
        m.d.sync += source.eq(self.read_data)
        for kind, body in bodies.items():
            with m.If(kinds[kind]):
                m.d.sync += source.eq(_words(body)[group])
        index = Signal(range(_WORD), reset_less=True)
        waited = Signal(range(self.read_cycles + 2), reset_less=True)
        m.d.sync += empty.eq(left == 0)  # it stands for longer than a cycle before that is asked

        def send(byte: Value, ends: Value | None = None) -> None:
            m.d.comb += [self.o.valid.eq(1), self.o.payload.data.eq(byte)]
            if ends is not None:
                m.d.comb += self.o.payload.last.eq(ends)
                with m.If(self.o.ready & ends):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "Idle"

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [report.eq(self.i.valid), left.eq(0), group.eq(0)]
                m.d.sync += [
                    known.eq((asked.command == kind) & (asked.status == Status.OK)) for kind, known in kinds.items()
                ]
                with m.If(self.i.valid):
                    m.next = "Tag"

            with m.State("Tag"):
                for kind, body in bodies.items():
                    with m.If(kinds[kind]):
                        m.d.sync += left.eq(len(body) // 8)
                with m.If(kinds[Command.READ]):
                    m.d.sync += left.eq(_WORD * asked.words)
                with m.If(self.o.ready):
                    m.next = "Command"
                send(asked.tag)
            with m.State("Command"):
                with m.If(self.o.ready):
                    m.next = "Status"
                send(asked.command)
            with m.State("Status"):
                with m.If(self.o.ready):
                    m.next = "Fetch"
                send(Value.cast(asked.status), ends=empty)

            with m.State("Fetch"):
                m.d.comb += self.read.eq(kinds[Command.READ])
                m.d.sync += [word.eq(source), index.eq(0), waited.eq(1), last.eq(left == 1), group.eq(group + 1)]
                m.next = "Byte"
                with m.If(kinds[Command.READ]):
                    m.next = "Wait"
            with m.State("Wait"):
                m.d.sync += [word.eq(source), waited.eq(waited + 1)]
                with m.If(waited == self.read_cycles + 1):
                    m.next = "Byte"
            with m.State("Byte"):
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(word >> 8), index.eq(index + 1), left.eq(left - 1), last.eq(left == 2)]
                    with m.If(index == _WORD - 1):
                        m.next = "Fetch"
                send(word[:8], ends=last)
        return m


def _words(body: Value) -> Array:
    """Words of a body, the last of which may be shorter."""
    return Array(body[at : at + 8 * _WORD] for at in range(0, len(body), 8 * _WORD))
