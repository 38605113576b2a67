"""The array: R x C processing elements of K lanes, output-stationary, with double-buffered sums."""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.copies import add_copies
from evenstep.gateware.count import PortableCounter
from evenstep.gateware.counters.plans import create_chain_plan
from evenstep.gateware.element import ChainElement, Element, ProcessingElement, create_element
from evenstep.gateware.timing import array_latency, counter_latency, is_pipelined, landing_registers, operand_reach
from evenstep.spec.geometry import Geometry

__all__ = ["PEArray", "column_layout"]


def column_layout(geometry: Geometry) -> data.StructLayout:
    """What leaves the array at once: a column of R elements, and the activation sums."""
    g = geometry
    return data.StructLayout(
        {
            "sums": g.rows * g.lane.sums * g.accumulator_bits,
            "act_sums": g.rows * g.accumulator_bits,
            "final": 1,
        }
    )


class PEArray(wiring.Component):
    """Array of processing elements.

    One step is accepted per cycle. Steps up to one that is `last` make a tile: R x C sums, and the sum of activations
    of each row. A finished tile moves to registers of its own and leaves one column per
    cycle while the next tile is counted. Only a tile that ends while the one before is still leaving stalls the input:
    tiles follow each other by no less than `evenstep.gateware.timing.tile_cycles`.

    The first column is valid `latency` cycles after the last step of its tile was accepted.

    Where counters are carry chains, every path begins and ends at a register: operands have one in front, whether all
    advance is known ahead and kept in a copy for each element, and columns leave through a register.

    Parameters
    ----------
    geometry : Geometry
        Uses `rows`, `columns`, `lanes`, `lane`, `act_bits`, `accumulator_bits`, `digit_step`, `counter` and
        `encoding`: activation sums are 0 where weights are unsigned, as nobody needs them.

    Members
    -------
    i : In(stream)
        ``acts`` (R * K * A bits, row 0 low), ``weights`` (C * K lanes, column 0 low), ``last``, ``shift``
        (take a Horner step before adding), ``count`` (add to the activation sums too), ``final`` (handed through: the
        tile ends a position).
    o : Out(stream)
        Columns in ascending order: ``sums`` (R times the sums of an element, row 0 low), ``act_sums`` (R accumulators),
        ``final`` (last column of a tile whose last step was `final`).
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        self.latency = array_latency(g)
        step = data.StructLayout(
            {
                "acts": g.rows * g.lanes * g.act_bits,
                "weights": g.weight_word_bits,
                "last": 1,
                "shift": 1,
                "count": 1,
                "final": 1,
            }
        )
        super().__init__({"i": In(stream.Signature(step)), "o": Out(stream.Signature(column_layout(g)))})

    def elaborate(self, platform):
        m = Module()
        if is_pipelined(self.geometry):
            self._elaborate_pipelined(m, platform)
        else:
            self._elaborate_plain(m)
        return m

    def _elaborate_plain(self, m: Module) -> None:
        g = self.geometry
        step = self.i.payload
        advance = Signal()
        flags = _delay_flags(m, self.i, advance, counter_latency(g))[-1]
        done, fresh = Signal(), Signal(init=1)
        m.d.sync += fresh.eq(0)
        m.d.comb += done.eq(advance & flags.ends)
        control = _Control(advance, advance & flags.valid, done | fresh, flags.shift)
        operands = _Operands(
            acts=lambda r, c: step.acts.word_select(r, g.lanes * g.act_bits),
            weights=lambda r, c: step.weights.word_select(c, g.lanes * g.lane.bits),
            count=[step.count] * g.rows,
        )
        sums, act_sums = _add_elements(m, g, operands, lambda row, column: control)

        # Drain registers: column 0 leaves, the others move up.
        width = len(self.o.payload.sums)
        drain = [Signal(width, name=f"drain{c}", reset_less=True) for c in range(g.columns)]
        drain_act_sums = Signal(g.rows * g.accumulator_bits, reset_less=True)
        drain_final = Signal()
        left = Signal(range(g.columns + 1))  # columns still to leave
        leaving = Signal()
        m.d.comb += [
            self.o.valid.eq(left != 0),
            self.o.payload.sums.eq(drain[0]),
            self.o.payload.act_sums.eq(drain_act_sums),
            self.o.payload.final.eq(drain_final & (left == 1)),
            leaving.eq(self.o.valid & self.o.ready),
        ]
        with m.If(leaving):
            m.d.sync += [here.eq(after) for here, after in itertools.pairwise(drain)]
            m.d.sync += left.eq(left - 1)

        free = (left == 0) | (leaving & (left == 1))
        m.d.comb += [advance.eq(~flags.ends | free), self.i.ready.eq(advance)]
        with m.If(done):
            m.d.sync += [drain[c].eq(Cat(row[c] for row in sums)) for c in range(g.columns)]
            m.d.sync += [drain_act_sums.eq(Cat(act_sums)), drain_final.eq(flags.final), left.eq(g.columns)]

    def _elaborate_pipelined(self, m: Module, platform: Any) -> None:
        g = self.geometry
        step = self.i.payload

        # `run` lets everything advance in this cycle, `load` hands a finished tile over. Both are decided two cycles
        # before, by where steps will be then: behind as many registers more as there are cycles that advance. Where the
        # next one does not, because a tile's last step has to wait, that is the step two cycles ahead.
        run = Signal()
        load = Signal()
        soon: dict[str, Signal] = {
            name: Signal(name=f"{name}_soon", init=name == "run") for name in ("run", "add", "load", "shift")
        }
        later = {name: Signal(name=f"{name}_later") for name in soon}
        *_, two_before, before, flags = _delay_flags(m, self.i, run, counter_latency(g))
        # This one stays near the decision, as `run` is wanted by the memories of operands too.
        [run_here] = add_copies(m, platform, "run_here", soon["run"], 1)
        valid, ends, shift = (Signal(name=f"{name}_then") for name in ("valid", "ends", "shift"))
        m.d.comb += [
            valid.eq(~soon["run"] | Mux(run_here, two_before.valid, before.valid)),
            ends.eq(~soon["run"] | Mux(run_here, two_before.ends, before.ends)),
            shift.eq(
                Mux(
                    run_here & soon["run"],
                    two_before.shift,
                    Mux(run_here | soon["run"], before.shift, flags.shift),
                )
            ),
        ]
        busy = Signal()  # columns are still to leave
        waiting = Signal()
        m.d.comb += [
            later["run"].eq(~(ends & busy)),
            later["load"].eq(ends & ~busy),
            later["add"].eq(valid & ~(ends & busy)),
            later["shift"].eq(shift),
            self.i.ready.eq(run),
        ]
        fresh = Signal(init=1)
        clear_soon = Signal()
        m.d.sync += [soon[name].eq(later[name]) for name in soon]
        m.d.sync += [run.eq(soon["run"]), load.eq(soon["load"])]
        m.d.sync += [fresh.eq(0), clear_soon.eq(later["load"] | fresh)]

        # In the cycle after a reset, copies may differ from what they are copies of. Nothing is accepted then, and with
        # three registers or more no decision looks at the input itself; sums are cleared before anything is added.
        def copies(name: str, value: Value, columns: int) -> list[list[Signal]]:
            found = add_copies(m, platform, name, value, g.rows * columns)
            return [found[row * columns : (row + 1) * columns] for row in range(g.rows)]

        everywhere = g.columns + 1  # and the activation sum
        runs, adds = copies("run", soon["run"], everywhere), copies("add", soon["add"], everywhere)
        clears, shifts = copies("clear", clear_soon, everywhere), copies("shift", soon["shift"], everywhere)
        loads = copies("load", soon["load"], everywhere)
        column_runs = add_copies(m, platform, "column_run", soon["run"], g.columns)

        def register(name: str, value: Value, enable: Value) -> Signal:
            held = Signal.like(value, name=name, reset_less=True)
            with m.If(enable):
                m.d.sync += held.eq(value)
            return held

        # Operands have two registers: one for each row and column, and one for every few elements of it, with the
        # enable of the first of these.
        reach = operand_reach(g)
        acts, weights = [], []
        counts = []
        for r in range(g.rows):
            given = step.acts.word_select(r, g.lanes * g.act_bits)
            row = register(f"acts{r}", given, runs[r][-1])
            acts.append([register(f"acts{r}_{c}", row, runs[r][c]) for c in range(0, g.columns, reach)])
            count = register(f"count{r}", step.count, runs[r][-1])
            counts.append(register(f"count{r}_", count, runs[r][0]))
        for c in range(g.columns):
            given = step.weights.word_select(c, g.lanes * g.lane.bits)
            column = register(f"weights{c}", given, column_runs[c])
            weights.append([register(f"weights{c}_{r}", column, runs[r][c]) for r in range(0, g.rows, reach)])

        def first(place: int) -> int:
            return place - place % reach

        sums, act_sums = _add_elements(
            m,
            g,
            _Operands(
                acts=lambda r, c: acts[r][c // reach],
                weights=lambda r, c: weights[c][r // reach],
                count=counts,
                act_enable=lambda r, c: runs[r][first(c)],
                weight_enable=lambda r, c: runs[first(r)][c],
            ),
            lambda r, c: _Control(runs[r][c], adds[r][c], clears[r][c], shifts[r][c]),
        )

        # A finished tile is held, and one column after the other selected: first in each pair of columns, then among
        # pairs, with registers behind both. All move if there was room at the output a cycle before, of which parts of
        # a row have copies; what leaves in between is kept.
        held = [
            [register(f"held_{r}_{c}", each, loads[r][c]) for c, each in enumerate(row)] for r, row in enumerate(sums)
        ]
        held_act_sums = [register(f"held_act_sum{r}", each, loads[r][-1]) for r, each in enumerate(act_sums)]
        held_final = register("held_final", flags.final, load)
        room = ~self.o.valid | self.o.ready
        go = Signal(init=1)
        select, select_next = Signal(g.columns), Signal(g.columns)
        m.d.comb += [
            select_next.eq(Mux(load, 1, Mux(go, select << 1, select))),
            busy.eq(soon["load"] | load | waiting),
        ]
        m.d.sync += [go.eq(room), select.eq(select_next), waiting.eq(load | (waiting & ~(go & select[-1])))]
        selects = [add_copies(m, platform, f"select{c}_", select_next[c], g.rows) for c in range(g.columns)]
        leaves = [add_copies(m, platform, f"go{r}_", room, (g.columns + 1) // 2 + 1) for r in range(g.rows)]

        def leave(name: str, value: Value, moves: Value) -> Value:
            column = register(name, value, moves)
            return Mux(moves, column, register(f"{name}_kept", column, moves))

        columns = []
        for r, row in enumerate(held):
            leaving, *pairing = leaves[r]
            chosen = [value & selects[c][r].replicate(len(value)) for c, value in enumerate(row)]
            pairs = itertools.zip_longest(chosen[::2], chosen[1::2], fillvalue=Const(0))
            registers = [
                register(f"pair_{r}_{c}", (low | high)[: len(row[0])], pairing[c])
                for c, (low, high) in enumerate(pairs)
            ]
            columns.append(leave(f"column{r}", functools.reduce(operator.or_, registers), leaving))
        column_act_sums = [
            leave(f"column_act_sum{r}", register(f"pair_act_sum{r}", each, leaves[r][0]), leaves[r][0])
            for r, each in enumerate(held_act_sums)
        ]
        paired_valid, column_valid, column_valid_next = Signal(), Signal(), Signal()
        m.d.comb += column_valid_next.eq(Mux(go, paired_valid, column_valid))
        m.d.sync += [column_valid.eq(column_valid_next), self.o.valid.eq(column_valid_next | ~room)]
        with m.If(go):
            m.d.sync += paired_valid.eq(waiting)
        paired_final = register("paired_final", held_final & select[-1], go)
        m.d.comb += [
            self.o.payload.sums.eq(Cat(columns)),
            self.o.payload.act_sums.eq(Cat(column_act_sums)),
            self.o.payload.final.eq(leave("column_final", paired_final, go)),
        ]


_FLAGS = ("valid", "ends", "shift", "final")


@dataclass(frozen=True)
class _Operands:
    """Activations and weights of elements, by row and column; for each row whether its activations count for its sum.

    Elements with the same `act_enable` share activations that wait for later stages, likewise with `weight_enable`.
    """

    acts: Callable[[int, int], Value]
    weights: Callable[[int, int], Value]
    count: Sequence[Value]
    act_enable: Callable[[int, int], Value] | None = None
    weight_enable: Callable[[int, int], Value] | None = None


@dataclass(frozen=True)
class _Control:
    """What tells an element to advance, and what its sums become."""

    enable: Value
    add: Value
    clear: Value
    shift: Value


def _delay_flags(m: Module, i: stream.Interface, advance: Value, latency: int) -> list[Any]:
    """Flags of a step at the input, and behind each register of the counters, beside whose pipelines they travel."""
    layout = data.StructLayout(dict.fromkeys(_FLAGS, 1))
    given = Signal(layout, name="flags0")
    step = i.payload
    m.d.comb += [given.valid.eq(i.valid), given.shift.eq(step.shift)]
    m.d.comb += [given.ends.eq(i.valid & step.last), given.final.eq(step.final)]
    flags = [given]
    for stage in range(1, latency + 1):
        held = Signal(layout, name=f"flags{stage}")
        with m.If(advance):
            m.d.sync += held.eq(flags[-1])
        flags.append(held)
    return flags


def _add_elements(
    m: Module,
    g: Geometry,
    operands: _Operands,
    control: Callable[[int, int], _Control],
) -> tuple[list[list[Value]], list[Value]]:
    """Elements of the array, and those of the activation sums, if any, as one more column, -1: sums of both."""
    pipelined, landing = is_pipelined(g), landing_registers(g)
    latency = counter_latency(g) - 2 * pipelined  # behind the operands that are given

    def add(name: str, element: Element, acts: Value, weights: Value, steered: _Control) -> Value:
        m.submodules[name] = element
        m.d.comb += [
            element.acts.eq(acts),
            element.weights.eq(weights),
            element.enable.eq(steered.enable),
            element.add.eq(steered.add),
            element.clear.eq(steered.clear),
            element.shift.eq(steered.shift),
        ]
        return element.sums

    sums: list[list[Value]] = []
    act_sums: list[Value] = []
    for r in range(g.rows):
        sums.append([])
        for c in range(g.columns):
            element: Any = create_element(g, counter_latency=latency - landing, landing=landing if pipelined else None)
            if operands.act_enable and operands.weight_enable:
                m.d.comb += element.act_enable.eq(operands.act_enable(r, c))
                m.d.comb += element.weight_enable.eq(operands.weight_enable(r, c))
            sums[-1].append(add(f"pe_{r}_{c}", element, operands.acts(r, c), operands.weights(r, c), control(r, c)))
        if g.encoding == "unsigned":
            continue
        # An activation sum is a dot product with ones. A step that is not to be counted still shifts.
        acts, count = operands.acts(r, 0), operands.count[r]
        if pipelined:
            act_sum, delays = _create_act_sum(g, latency)
            for stage in range(delays):
                delayed = Signal(len(acts) + 1, name=f"act_sum_operands_{r}_{stage}", reset_less=True)
                with m.If(control(r, -1).enable):
                    m.d.sync += delayed.eq(Cat(acts, count))
                acts, count = delayed[:-1], delayed[-1]
            ones = count.replicate(g.lanes)
        else:
            counter = PortableCounter(lanes=g.lanes, weight_bits=1, act_bits=g.act_bits, latency=latency)
            act_sum = ProcessingElement(counter, accumulator_bits=g.accumulator_bits, digit_step=g.digit_step)
            acts, ones = Mux(count, acts, 0), Const(-1, g.lanes)
        act_sums.append(add(f"row_sum_{r}", act_sum, acts, ones, control(r, -1)))
    return sums, act_sums


def _create_act_sum(g: Geometry, latency: int) -> tuple[ChainElement, int]:
    """Element of activation sums, with registers for its stages, and how many more have to stand in front of it."""
    sizes: Any = {"lanes": g.lanes, "weight_bits": 1, "act_bits": g.act_bits}
    stages = create_chain_plan(**sizes, accumulator_bits=g.accumulator_bits).stages
    landing = landing_registers(g) - 1  # those in front can be anywhere on the way too
    own = min(latency - landing, stages)
    element = ChainElement(
        **sizes, latency=own, accumulator_bits=g.accumulator_bits, digit_step=g.digit_step, landing=landing
    )
    return element, latency - landing - own
