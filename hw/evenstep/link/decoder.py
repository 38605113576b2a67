"""Command decoder: obeys verified packets and answers each."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.memory import HostInterface, HostSignature
from evenstep.link.frame import PACKET_BYTE
from evenstep.link.protocol import MAGIC, MAX_WORDS, VERSION, Command, Region, Status

__all__ = ["CommandDecoder"]

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
        if len(identity) != 16:
            raise ValueError(f"Identity must be 16 bytes long, not {len(identity)}")
        self.identity = identity
        self.sizes = sizes
        self.read_cycles = read_cycles
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
        tag, command, status = Signal(8), Signal(8), Signal(Status)
        ended = Signal()  # the packet, with its command
        address = Signal(32)
        words = Signal(8)  # words still to move
        index = Signal(8)  # byte within the field at hand
        word = Signal(32)
        end, limit = Signal(25), Signal(25)  # behind the words that are asked for, and behind all of the memory
        uncountable, beyond = Signal(), Signal()
        m.d.comb += [self.region.eq(address[24:]), self.host.address.eq(address), self.entry.eq(address)]

        take = self.i.valid & self.i.ready
        # Bodies of answers that need no memory. What changes while a program runs is taken at once, by `report`.
        running = Cat(self.busy, Const(0, 7), self.dropped, self.cycles, self.steps)
        state = Signal.like(running, reset_less=True)
        identity = MAGIC + bytes([VERSION]) + self.identity
        contents = {
            Command.IDENTIFY: Const(int.from_bytes(identity, "little"), 8 * len(identity)),
            Command.STATUS: state,
        }
        left = Signal(range(1 + max(len(content) // 8 for content in contents.values())))  # bytes still to send
        body_byte = Signal(8)
        report = Signal()

        # What a packet's length says of it is known before its first byte leaves, so all that counts is computed ahead.
        body = self.length - 2
        fits = {name: Signal(name=f"fits_{name}") for name in ("nothing", "write", "read", "run")}
        written = Signal.like(words)
        m.d.sync += [
            fits["nothing"].eq(body == 0),
            fits["write"].eq((body >= 2 * _WORD) & (body[:2] == 0) & (body <= _WORD * (MAX_WORDS + 1))),
            fits["read"].eq(body == _WORD + 1),
            fits["run"].eq(body == _WORD),
            written.eq((body - _WORD) >> 2),
        ]

        # These reach into every block of the core, so they come out of registers: no command is obeyed, and no body
        # sent, before the answer's first bytes.
        m.d.sync += [strobe.eq(0) for strobe in (self.run, self.reset, report)]
        with m.If(report):
            m.d.sync += state.eq(running)

        def refuse(reason: Status):
            m.d.sync += status.eq(reason)
            m.next = "Discard"

        with m.FSM():
            with m.State("Tag"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [tag.eq(self.i.payload.data), index.eq(0), status.eq(Status.OK)]
                m.d.sync += [left.eq(0), words.eq(0)]
                with m.If(self.i.valid):
                    m.next = "Command"

            with m.State("Command"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [command.eq(self.i.payload.data), ended.eq(self.i.payload.last)]
                with m.If(self.i.valid):
                    m.next = "Kind"

            with m.State("Kind"):
                with m.Switch(command):
                    with m.Case(Command.IDENTIFY, Command.STATUS, Command.RESET):
                        m.next = "Simple"
                        with m.If(~fits["nothing"]):
                            refuse(Status.BAD_LENGTH)
                    with m.Case(Command.WRITE):
                        m.d.sync += words.eq(written)
                        m.next = "Address"
                        with m.If(~fits["write"]):
                            refuse(Status.BAD_LENGTH)
                    with m.Case(Command.READ):
                        m.next = "Address"
                        with m.If(~fits["read"]):
                            refuse(Status.BAD_LENGTH)
                    with m.Case(Command.RUN):
                        m.d.sync += words.eq(1)
                        m.next = "Address"
                        with m.If(~fits["run"]):
                            refuse(Status.BAD_LENGTH)
                    with m.Default():
                        refuse(Status.UNKNOWN_COMMAND)
                with m.If(ended):
                    # Nothing to discard: refusals above are answered at once.
                    with m.Switch(command):
                        with m.Case(Command.IDENTIFY, Command.STATUS, Command.RESET):
                            pass
                        with m.Default():
                            m.next = "Answer tag"

            with m.State("Simple"):
                with m.Switch(command):
                    for of, content in contents.items():
                        with m.Case(of):
                            m.d.sync += [report.eq(1), left.eq(len(content) // 8)]
                    with m.Default():
                        m.d.sync += self.reset.eq(1)
                m.next = "Answer tag"

            with m.State("Address"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [address.eq(Cat(address[8:], self.i.payload.data)), index.eq(index + 1)]
                    with m.If(index == _WORD - 1):
                        m.d.sync += index.eq(0)
                        m.next = "Count"
                        with m.If(command != Command.READ):
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
                    beyond.eq((end > limit) | ((command == Command.RUN) & (address[24:] != Region.PROGRAM))),
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
                with m.Switch(command):
                    with m.Case(Command.RUN):
                        m.d.sync += self.run.eq(status == Status.OK)
                        m.next = "Answer tag"
                    with m.Case(Command.READ):
                        m.next = "Answer tag"
                    with m.Default():
                        m.next = "Write"
                        with m.If(status != Status.OK):
                            m.next = "Discard"

            with m.State("Write"):
                m.d.comb += [self.i.ready.eq(1), self.host.write_data.eq(Cat(word[8:], self.i.payload.data))]
                with m.If(self.i.valid):
                    m.d.sync += [word.eq(self.host.write_data), index.eq(index + 1)]
                    with m.If(index == _WORD - 1):
                        m.d.comb += self.host.write_enable.eq(1)
                        m.d.sync += [index.eq(0), address.eq(address + 1)]
                    with m.If(self.i.payload.last):
                        m.next = "Answer tag"

            with m.State("Discard"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(take & self.i.payload.last):
                    m.next = "Answer tag"

            with m.State("Answer tag"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.data.eq(tag)]
                with m.If(self.o.ready):
                    m.next = "Answer command"
            with m.State("Answer command"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.data.eq(command)]
                with m.If(self.o.ready):
                    m.next = "Answer status"
            with m.State("Answer status"):
                reads = (command == Command.READ) & (status == Status.OK)
                m.d.comb += [self.o.valid.eq(1), self.o.payload.data.eq(status)]
                m.d.comb += self.o.payload.last.eq(~reads & (left == 0))
                with m.If(self.o.ready):
                    m.next = "Body"
                    with m.If(self.o.payload.last):
                        m.next = "Tag"
                    with m.Elif(reads):
                        m.next = "Read"
            with m.State("Body"):
                m.d.sync += left.eq(left - 1)
                for of, content in contents.items():
                    with m.If(command == of):
                        m.d.sync += body_byte.eq(_last_first(content).word_select(left, 8))
                m.next = "Answer body"
            with m.State("Answer body"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.data.eq(body_byte), self.o.payload.last.eq(left == 0)]
                with m.If(self.o.ready):
                    m.next = "Body"
                    with m.If(self.o.payload.last):
                        m.next = "Tag"

            with m.State("Read"):
                m.d.comb += self.host.read_enable.eq(1)
                m.d.sync += [address.eq(address + 1), words.eq(words - 1), index.eq(1)]
                m.next = "Read data"
            with m.State("Read data"):
                m.d.sync += [word.eq(self.host.read_data), index.eq(index + 1)]
                with m.If(index == self.read_cycles):
                    m.d.sync += index.eq(0)
                    m.next = "Answer word"
            with m.State("Answer word"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.data.eq(word)]
                m.d.comb += self.o.payload.last.eq((index == _WORD - 1) & (words == 0))
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(word >> 8), index.eq(index + 1)]
                    with m.If(index == _WORD - 1):
                        m.next = "Read"
                        with m.If(words == 0):
                            m.next = "Tag"
        return m


def _last_first(content: Value) -> Value:
    """Bytes by how many are still to send, the first of them included; byte 0 is none."""
    return Cat(Const(0, 8), *(content[at : at + 8] for at in reversed(range(0, len(content), 8))))
