"""Sequencer: runs a program of layer descriptors out of on-chip memories, without the host."""

import itertools

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenstep.gateware.header import HeaderDecoder, layer_configuration, load_members
from evenstep.gateware.memory import ANY_COLLISION
from evenstep.gateware.operands import has_blanks, operand_addresses, pass_record
from evenstep.gateware.schedule import Schedule
from evenstep.gateware.stages import Stages
from evenstep.gateware.timing import is_pipelined, operand_latency, read_latency
from evenstep.gateware.window import WindowWalker
from evenstep.spec.geometry import Geometry

__all__ = ["Sequencer"]


def _load_ports(geometry: Geometry) -> dict[str, wiring.Member]:
    return {
        "load_start": Out(1),
        **load_members(geometry),
        "load_busy": In(1),
        "load_failed": In(1),
    }


class Sequencer(wiring.Component):
    """Fetches a layer, issues its steps, one per cycle, waits until its outputs are written, and goes on.

    The number of cycles of every layer is a function of the program alone; `evenstep.compiler.cycles` is that function.

    Parameters
    ----------
    geometry : Geometry
        Uses the depths of the memories, `rows`, `max_passes`, `zero_bits`, `combines`, `convolution`, `neighbours`,
        `wide_depth`, `port_bits` and `counter`.

    Members
    -------
    start : In(1)
        Run the program at `entry`. Ignored while `busy`.
    entry : In
        Address of the first descriptor.
    busy : Out(1)
        A program is running.
    cycles : Out(32)
        Cycles for which the last (or current) run was busy.
    steps : Out(32)
        Steps that the array took in it.
    program_address, program_enable, program_data
        Read port of the program memory, data `evenstep.gateware.timing.read_latency` cycles later.
    act_address, weight_address, read_enable : Out
        Read ports of the operand memories, data as many cycles later in which `read_enable` is set; of a scan,
        `act_address` is one of wide numbers. Where rows are neighbours, it is an address for each bank, bank 0 low.
    step_valid, step_first, step_last, step_shift, step_count, step_final : Out(1)
        Flags of the step whose operands the memories give in this cycle.
    step_inside : Out
        They are of a place within the picture; where there are wide numbers. A bit for each row that has its own place.
    step_bank, last_column : Out
        Where rows are neighbours: bank of the first row's operands, and positions in a line - 1.
    step_ready : In(1)
        The array takes the step. Where it is pipelined, what takes steps must be ready for the next while it has none.
    layer : Out
        Settings of the current layer, stable from `layer_start` until it is written.
    layer_start : Out(1)
        Strobe: a layer begins.
    load_start, load_address, load_target, load_words : Out
        Where there is a read port: command of a load of weights.
    load_busy, load_failed : In(1)
        It is under way; it ended with an error, which ends the run.
    drained, written : In(1)
        Strobes, once at each position: its last column was consumed (not of a maximum); its last output was written.
    """

    start: Signal
    entry: Signal
    busy: Signal
    cycles: Signal
    steps: Signal
    program_address: Signal
    program_enable: Signal
    program_data: Signal
    act_address: Signal
    weight_address: Signal
    read_enable: Signal
    step_valid: Signal
    step_first: Signal
    step_last: Signal
    step_shift: Signal
    step_count: Signal
    step_final: Signal
    step_inside: Signal
    step_bank: Signal
    last_column: Signal
    step_ready: Signal
    layer: data.View
    layer_start: Signal
    load_start: Signal
    load_address: Signal
    load_target: Signal
    load_words: Signal
    load_busy: Signal
    load_failed: Signal
    drained: Signal
    written: Signal

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        self.program_bits = ceil_log2(g.program_depth)
        self.act_bits = ceil_log2(max(g.act_depth, g.wide_depth))
        self.places = g.rows if g.neighbours else 1  # that are read at once
        super().__init__(
            {
                "start": In(1),
                "entry": In(self.program_bits),
                "busy": Out(1),
                "cycles": Out(32),
                "steps": Out(32),
                "program_address": Out(self.program_bits),
                "program_enable": Out(1),
                "program_data": In(32),
                "act_address": Out(self.places * self.act_bits),
                "weight_address": Out(ceil_log2(g.weight_depth)),
                "read_enable": Out(1),
                "step_valid": Out(1),
                "step_first": Out(1),
                "step_last": Out(1),
                "step_shift": Out(1),
                "step_count": Out(1),
                "step_final": Out(1),
                **({"step_inside": Out(self.places)} if g.wide_depth else {}),
                **({"step_bank": Out(range(g.rows)), "last_column": Out(12)} if g.neighbours else {}),
                "step_ready": In(1),
                "layer": Out(layer_configuration(geometry)),
                "layer_start": Out(1),
                **(_load_ports(g) if g.port_bits else {}),
                "drained": In(1),
                "written": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        act_bits, weight_bits = self.act_bits, len(self.weight_address)
        pipelined = is_pipelined(g)

        m.submodules.passes = table = memory.Memory(
            shape=pass_record(g, act_bits, weight_bits), depth=max(2, g.max_passes), init=[], attrs=ANY_COLLISION
        )
        table_read, table_write = table.read_port(), table.write_port()

        # Fetch: words arrive `read_latency` cycles after their address.
        m.submodules.header = header = HeaderDecoder(g)
        passes = header.passes
        pc = Signal(self.program_bits, reset_less=True)
        loaded = Signal(reset_less=True)
        pass_first = Signal(32, reset_less=True)  # first of the two words of a pass
        pass_half = Signal(reset_less=True)
        pass_index = Signal(range(max(2, g.max_passes)), reset_less=True)
        pass_complete = Signal(reset_less=True)  # it is that of the layer's last pass
        fetched = self.program_data
        m.d.comb += [self.program_address.eq(pc), header.word.eq(fetched), self.layer.eq(header.layer)]
        if g.port_bits:
            m.d.comb += [getattr(self, name).eq(getattr(header, name)) for name in load_members(g)]
        reading = read_latency(g)
        # A word of a header is awaited, and there: not set but while one is read.
        *awaited, arriving = (Signal(name=f"arriving{n}") for n in range(reading))
        m.d.comb += header.enable.eq(arriving)

        record = table_write.data
        m.d.comb += [
            table_write.addr.eq(pass_index),
            record.act.eq(pass_first),
            record.shift.eq(pass_first[30]),
            record.count.eq(pass_first[31]),
            record.weight.eq(fetched),
            record.steps.eq(fetched[20:]),
            record.single.eq(fetched[20:] == 0),
        ]
        if g.convolution:
            m.d.comb += record.padding.eq(pass_first[20:])
        if has_blanks(g):
            m.d.comb += record.blank.eq(pass_first[29])

        # Run: steps of the pass whose record the table gives.
        m.submodules.schedule = schedule = Schedule(g)
        current = table_read.data
        m.d.comb += [
            schedule.start.eq(self.layer_start),
            schedule.passes.eq(passes),
            schedule.tiles.eq(header.tiles),
            schedule.weight_base.eq(header.weight_base),
            schedule.tile_stride.eq(header.tile_stride),
            schedule.single.eq(current.single),
            schedule.following.eq(current.steps),
            table_read.addr.eq(schedule.next_pass),
            table_read.en.eq(schedule.read),
        ]

        # Positions of which something is yet to come: of the array, and of what is written.
        position_bits = 24 if g.convolution else 1
        undrained = Signal(position_bits, reset_less=True)
        unwritten = Signal(position_bits, reset_less=True)
        with m.If(self.drained):
            m.d.sync += undrained.eq(undrained - 1)
        with m.If(self.written):
            m.d.sync += unwritten.eq(unwritten - 1)

        weighted = ~self.layer.pool if g.convolution else Const(1, 1)
        if g.wide_depth:
            weighted &= ~self.layer.scan
        # A step waits with its operands at the memories' outputs until the array takes it. Where it is pipelined, steps
        # on their way to and through the memories wait with it, and nothing moves but what the array lets.
        go = self.step_ready if pipelined else ~self.step_valid | self.step_ready
        issues = schedule.running & go
        m.d.comb += schedule.advance.eq(go)
        hold = Stages(m, go).hold
        walker = WindowWalker(address_bits=act_bits, rows=self.places) if g.convolution else None
        if walker is not None:
            m.submodules.walker = walker
            m.d.comb += [walker.data.eq(fetched), walker.write.eq(header.window)]
            m.d.comb += [walker.start.eq(self.layer_start), schedule.positions.eq(walker.positions)]
            if g.neighbours:
                m.d.comb += self.last_column.eq(walker.last_column)
        weight_address, addresses = operand_addresses(m, g, current, schedule, walker=walker, hold=hold)

        # These counters can be anywhere, so they are told by registers: of a run in its first cycle.
        begun, taken = Signal(), Signal()
        m.d.sync += [begun.eq(0), taken.eq(self.step_valid & self.step_ready), self.steps.eq(self.steps + taken)]
        with m.If(self.busy):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        with m.If(begun):
            m.d.sync += [self.cycles.eq(1), self.steps.eq(0)]
        names = ["valid", "first", "last", "shift", "count", "final"]
        walked = ["inside"] * (walker is not None and g.wide_depth > 0) + ["bank"] * g.neighbours
        names += walked
        flags = [
            {
                name: Signal.like(getattr(self, f"step_{name}"), name=f"{name}_{stage}", reset_less=name != "valid")
                for name in names
            }
            for stage in range(operand_latency(g))
        ]
        m.d.comb += [getattr(self, f"step_{name}").eq(flag) for name, flag in flags[-1].items()]
        issued = flags[0]
        with m.If(go):
            for before, after in itertools.pairwise(flags):
                m.d.sync += [after[name].eq(before[name]) for name in names]
            m.d.sync += issued["valid"].eq(0)
        asked = [Cat(one[:act_bits] for one in addresses), weight_address[:weight_bits]]
        reads = issues
        if pipelined:
            # What the memories are given comes out of registers. While it is idle, the host reads the same memories.
            asked, reads = hold(asked, "asked"), go
            m.d.comb += self.program_enable.eq(1)
        asked_act, asked_weight = asked
        m.d.comb += [self.act_address.eq(asked_act), self.weight_address.eq(asked_weight), self.read_enable.eq(reads)]
        if walker is not None:
            pass_ends, tile_ends, last_tile = schedule.pass_ends, schedule.tile_ends, schedule.last_tile
            if pipelined:
                [pass_ends] = hold([pass_ends], "ended")
                tile_ends, last_tile = issued["last"], issued["final"]
                m.d.comb += walker.step.eq(go & issued["valid"])
                m.d.comb += [issued[name].eq(getattr(walker, name)) for name in walked]
            m.d.comb += [
                walker.end_pass.eq(pass_ends),
                walker.end_tile.eq(tile_ends),
                walker.end_position.eq(tile_ends & last_tile),
            ]
        with m.If(issues):
            m.d.sync += [
                issued["valid"].eq(1),
                issued["first"].eq(schedule.tile_begins),
                issued["last"].eq(schedule.tile_ends),
                issued["shift"].eq(current.shift & schedule.pass_begins),
                issued["count"].eq(current.count),
                issued["final"].eq(schedule.last_tile),
            ]
            if walker is not None and not pipelined:
                m.d.sync += [issued[name].eq(getattr(walker, name)) for name in walked]
                m.d.comb += walker.step.eq(1)

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [pc.eq(self.entry), self.busy.eq(self.start), begun.eq(self.start), loaded.eq(0)]
                with m.If(self.start):
                    m.next = "Header"

            with m.State("Header"):
                m.d.comb += self.program_enable.eq(1)
                m.d.sync += [
                    pc.eq(pc + 1),
                    Cat(awaited, arriving).eq(Cat(1, awaited)),
                    pass_half.eq(0),
                    pass_index.eq(0),
                ]
                with m.If(header.ends):
                    m.d.sync += [self.busy.eq(0), Cat(awaited, arriving).eq(0)]
                    m.next = "Idle"
                with m.If(header.complete):
                    m.d.sync += Cat(awaited, arriving).eq(0)
                    m.next = "Passes"
                if g.port_bits:
                    with m.If(header.loads):
                        m.d.sync += Cat(awaited, arriving).eq(0)
                        m.next = "Load"

            if g.port_bits:
                with m.State("Load"):
                    # Words on their way were fetched too many. A load that failed in an earlier run says nothing.
                    with m.If(~self.load_busy):
                        m.d.comb += self.load_start.eq(~(self.load_failed & loaded))
                        m.d.sync += [pc.eq(pc - reading), loaded.eq(1)]
                        m.next = "Header"
                        with m.If(self.load_failed & loaded):
                            m.d.sync += self.busy.eq(0)
                            m.next = "Idle"

            with m.State("Passes"):
                # Synthesis sees that nothing is read meanwhile, so a block RAM needs nothing beside it for that.
                m.d.comb += [self.program_enable.eq(1), table_write.en.eq(pass_half & ~schedule.running)]
                m.d.sync += [pc.eq(pc + 1), pass_half.eq(~pass_half), pass_first.eq(fetched)]
                m.d.sync += pass_complete.eq(pass_index == passes)
                with m.If(pass_half):
                    m.d.sync += pass_index.eq(pass_index + 1)
                    with m.If(pass_complete):
                        m.next = "Start"

            with m.State("Start"):
                # The table's first record is read here; words on their way were fetched too many.
                m.d.comb += self.layer_start.eq(1)
                m.d.sync += [pc.eq(pc - reading), undrained.eq(1), unwritten.eq(1)]
                if walker is not None:
                    m.d.sync += [undrained.eq(Mux(weighted, walker.positions, 0)), unwritten.eq(walker.positions)]
                m.next = "Run"

            with m.State("Run"):
                with m.If(~schedule.running):
                    m.next = "Finish"

            with m.State("Finish"):
                with m.If((undrained == 0) & (unwritten == 0)):
                    m.next = "Header"
        return m
