"""Command decoder: obeys verified packets and answers each."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.memory import HostInterface, HostSignature
from evenstep.link.answer import Answerer
from evenstep.link.frame import PACKET_BYTE
from evenstep.link.protocol import MAX_WORDS, Command, Region, Status

__all__ = ["CommandDecoder"]

# Bytes of tag and command; of a word, or an address.
_HEADER = 2
_WORD = 4


class CommandDecoder(wiring.Component):
    """Decodes the commands of `link.protocol` and drives memories and sequencer.

    A command is checked as a whole (length, address range, busy) before any of it takes effect.

    Parameters
    ----------
    identity : bytes
        16 bytes that `IDENTIFY` reports: the configuration hash.
    sizes : dict of Region to int
        Host words of each memory, gaps between lanes included.
    read_cycles : int
        Cycles from a read of memory to its data, at least 1.

    Members
    -------
    i : In(stream)
        Packets from a `FrameReceiver`.
    length, dropped : In
        Its `length` and `dropped`; the length of a packet from two cycles before its second byte on.
    o : Out(stream)
        Answers, for a `FrameSender`.
    region, host : Out
        Memory, and access to it.
    run, entry : Out
        Strobe that starts the program at `entry`.
    reset : Out(1)
        Strobe that gives up a run.
    busy, cycles, steps : In
        State of the sequencer.
    """

    i: stream.Interface
    o: stream.Interface
    length: Signal
    dropped: Signal
    region: Signal
    host: HostInterface
    run: Signal
    entry: Signal
    reset: Signal
    busy: Signal
    cycles: Signal
    steps: Signal

    def __init__(self, *, identity: bytes, sizes: dict[Region, int], read_cycles: int):
        self.sizes = sizes
        self.answerer = Answerer(identity=identity, read_cycles=read_cycles)
        super().__init__(
            {
                "i": In(stream.Signature(PACKET_BYTE)),
                "length": In(9),
                "dropped": In(32),
                "o": Out(stream.Signature(PACKET_BYTE)),
                "region": Out(8),
                "host": Out(HostSignature(24)),
                "run": Out(1),
                "entry": Out(24),
                "reset": Out(1),
                "busy": In(1),
                "cycles": In(32),
                "steps": In(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # What a command says is set before anybody looks at it, so that no reset needs to reach it.
        tag, command = Signal(8, name="tag", reset_less=True), Signal(8, name="command", reset_less=True)
        status = Signal(Status, reset_less=True)
        ended = Signal(reset_less=True)  # the packet, with its command
        kinds = {kind: Signal(name=kind.name.lower(), reset_less=True) for kind in Command}  # which one it is
        address = Signal(32, reset_less=True)
        words = Signal(8, reset_less=True)  # to be moved
        index = Signal(range(_WORD), reset_less=True)  # byte within the field at hand
        word = Signal(32, reset_less=True)
        # Behind the words that are asked for, and behind all of the memory.
        end, limit = Signal(25, name="end", reset_less=True), Signal(25, name="limit", reset_less=True)
        uncountable, beyond = Signal(name="uncountable", reset_less=True), Signal(name="beyond", reset_less=True)
        m.d.comb += [self.region.eq(address[24:]), self.host.address.eq(address), self.entry.eq(address)]

        m.submodules.answerer = answerer = self.answerer
        answer = answerer.i.payload
        wiring.connect(m, answerer.o, wiring.flipped(self.o))
        m.d.comb += [
            answer.tag.eq(tag),
            answer.command.eq(command),
            answer.status.eq(status),
            answer.words.eq(words),
            answerer.busy.eq(self.busy),
            answerer.dropped.eq(self.dropped),
            answerer.cycles.eq(self.cycles),
            answerer.steps.eq(self.steps),
            answerer.read_data.eq(self.host.read_data),
            self.host.read_enable.eq(answerer.read),
        ]

        # What a packet's length says of it is known before its first byte leaves, so all that counts is computed ahead.
        lengths = {
            Command.IDENTIFY: "nothing",
            Command.STATUS: "nothing",
            Command.RESET: "nothing",
            Command.WRITE: "write",
            Command.READ: "read",
            Command.RUN: "run",
        }
        fits = {name: Signal(name=f"fits_{name}", reset_less=True) for name in dict.fromkeys(lengths.values())}
        written = Signal.like(words)
        least, most = (_HEADER + _WORD * (1 + count) for count in (1, MAX_WORDS))  # of a packet that writes
        m.d.sync += [
            fits["nothing"].eq(self.length == _HEADER),
            fits["write"].eq((self.length >= least) & (self.length[:2] == _HEADER) & (self.length <= most)),
            fits["read"].eq(self.length == _HEADER + _WORD + 1),
            fits["run"].eq(self.length == _HEADER + _WORD),
            # Of whole words, what the command takes of one does not count.
            written.eq((self.length >> 2) - 1),
        ]

        # Words are cycles apart, so the next one's address may be a cycle late.
        moved = Signal()
        m.d.sync += moved.eq(self.host.read_enable | self.host.write_enable)
        with m.If(moved):
            m.d.sync += address.eq(address + 1)

        # These reach into every block of the core, so they come out of registers.
        m.d.sync += [strobe.eq(0) for strobe in (self.run, self.reset)]

        with m.FSM():
            with m.State("Tag"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [tag.eq(self.i.payload.data), index.eq(0)]
                with m.If(self.i.valid):
                    m.next = "Command"

            with m.State("Command"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [command.eq(self.i.payload.data), ended.eq(self.i.payload.last)]
                with m.If(self.i.valid):
                    m.next = "Kind"

            with m.State("Kind"):
                m.d.sync += [known.eq(command == kind) for kind, known in kinds.items()]
                m.next = "Length"

            with m.State("Length"):
                fitting = Cat(known & fits[lengths[kind]] for kind, known in kinds.items()).any()
                m.d.sync += status.eq(Mux(fitting, Status.OK, Status.BAD_LENGTH))
                with m.If(~Cat(kinds.values()).any()):
                    m.d.sync += status.eq(Status.UNKNOWN_COMMAND)
                m.d.sync += words.eq(Mux(kinds[Command.WRITE], written, 1))
                m.next = "Sort"

            with m.State("Sort"):
                simple = Cat(known for kind, known in kinds.items() if lengths[kind] == "nothing").any()
                m.next = "Address"
                with m.If(simple):
                    m.d.sync += self.reset.eq(kinds[Command.RESET] & (status == Status.OK))
                    m.next = "Answer"
                with m.If(status != Status.OK):
                    m.next = "Discard"
                    with m.If(ended):  # nothing to discard
                        m.next = "Answer"

            with m.State("Address"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [address.eq(Cat(address[8:], self.i.payload.data)), index.eq(index + 1)]
                    with m.If(index == _WORD - 1):
                        m.d.sync += index.eq(0)
                        m.next = "Count"
                        with m.If(~kinds[Command.READ]):
                            m.next = "Measure"

            with m.State("Count"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += words.eq(self.i.payload.data)
                    m.next = "Measure"

            with m.State("Measure"):
                m.d.sync += [end.eq(address[:24] + words), limit.eq(0)]
                with m.Switch(address[24:]):
                    for region, size in self.sizes.items():
                        with m.Case(region):
                            m.d.sync += limit.eq(size)
                m.next = "Compare"

            with m.State("Compare"):
                m.d.sync += [
                    uncountable.eq((words == 0) | (words > MAX_WORDS)),
                    beyond.eq((end > limit) | (kinds[Command.RUN] & (address[24:] != Region.PROGRAM))),
                ]
                m.next = "Check"

            with m.State("Check"):
                with m.If(self.busy):
                    m.d.sync += status.eq(Status.BUSY)
                with m.Elif(uncountable):
                    m.d.sync += status.eq(Status.BAD_LENGTH)
                with m.Elif(beyond):
                    m.d.sync += status.eq(Status.BAD_ADDRESS)
                m.next = "Obey"

            with m.State("Obey"):
                m.d.sync += self.run.eq(kinds[Command.RUN] & (status == Status.OK))
                m.next = "Answer"
                with m.If(kinds[Command.WRITE]):
                    m.next = "Write"
                    with m.If(status != Status.OK):
                        m.next = "Discard"

            with m.State("Write"):
                m.d.comb += [self.i.ready.eq(1), self.host.write_data.eq(Cat(word[8:], self.i.payload.data))]
                with m.If(self.i.valid):
                    m.d.sync += [word.eq(self.host.write_data), index.eq(index + 1)]
                    with m.If(index == _WORD - 1):
                        m.d.comb += self.host.write_enable.eq(1)
                        m.d.sync += index.eq(0)
                    with m.If(self.i.payload.last):
                        m.next = "Answer"

            with m.State("Discard"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid & self.i.payload.last):
                    m.next = "Answer"

            with m.State("Answer"):
                m.d.comb += answerer.i.valid.eq(1)
                with m.If(answerer.i.ready):
                    m.next = "Tag"
        return m
