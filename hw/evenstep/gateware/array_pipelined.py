"""The array whose counters are carry chains: every path begins and ends at a register.

Operands have two registers in front, whether all advance is decided two cycles ahead and kept in a copy for each
element, and columns leave through registers.
"""

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream

from evenstep.gateware.array_elements import Control, Operands, add_elements, delay_flags
from evenstep.gateware.copies import add_copies
from evenstep.gateware.stages import register
from evenstep.gateware.timing import counter_latency, operand_reach
from evenstep.spec.geometry import Geometry

__all__ = ["add_pipelined_array"]


def add_pipelined_array(
    m: Module, platform: Any, g: Geometry, i: stream.Interface, o: stream.Interface, ready_next: Signal
) -> None:
    """Elements of an array with registers everywhere, between its input and its output.

    `ready_next` is driven: whether the input is ready in the next cycle.
    """
    step = i.payload

    # `run` lets everything advance in this cycle, `load` hands a finished tile over. Both are decided two cycles
    # before, by where steps will be then: behind as many registers more as there are cycles that advance. Where the
    # next one does not, because a tile's last step has to wait, that is the step two cycles ahead.
    run = Signal()
    load = Signal()
    soon = {"run": ready_next, **{name: Signal(name=f"{name}_soon") for name in ("add", "load", "shift")}}
    later = {name: Signal(name=f"{name}_later") for name in soon}
    *_, two_before, before, flags = delay_flags(m, i, run, counter_latency(g))
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
    m.d.comb += [
        later["run"].eq(~(ends & busy)),
        later["load"].eq(ends & ~busy),
        later["add"].eq(valid & ~(ends & busy)),
        later["shift"].eq(shift),
        i.ready.eq(run),
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

    operands = _register_operands(m, g, step, runs, column_runs)
    sums, act_sums = add_elements(
        m, g, operands, lambda r, c: Control(runs[r][c], adds[r][c], clears[r][c], shifts[r][c])
    )

    # A finished tile is held, and one column after the other selected.
    held = [
        [register(m, f"held_{r}_{c}", each, loads[r][c]) for c, each in enumerate(row)] for r, row in enumerate(sums)
    ]
    held_act_sums = [register(m, f"held_act_sum{r}", each, loads[r][-1]) for r, each in enumerate(act_sums)]
    held_final = register(m, "held_final", flags.final, load)
    _add_exit(m, platform, o, soon["load"], load, busy, held, held_act_sums, held_final)


def _register_operands(
    m: Module, g: Geometry, step: Any, runs: Sequence[Sequence[Value]], column_runs: Sequence[Value]
) -> Operands:
    """Operands behind two registers: one for each row and column, and one for every few elements of it, with the enable
    of the first of these.
    """
    reach = operand_reach(g)
    acts, weights = [], []
    counts = []
    for r in range(g.rows):
        given = step.acts.word_select(r, g.lanes * g.act_bits)
        row = register(m, f"acts{r}", given, runs[r][-1])
        acts.append([register(m, f"acts{r}_{c}", row, runs[r][c]) for c in range(0, g.columns, reach)])
        count = register(m, f"count{r}", step.count, runs[r][-1])
        counts.append(register(m, f"count{r}_", count, runs[r][0]))
    for c in range(g.columns):
        given = step.weights.word_select(c, g.lanes * g.lane.bits)
        column = register(m, f"weights{c}", given, column_runs[c])
        weights.append([register(m, f"weights{c}_{r}", column, runs[r][c]) for r in range(0, g.rows, reach)])

    def first(place: int) -> int:
        return place - place % reach

    return Operands(
        acts=lambda r, c: acts[r][c // reach],
        weights=lambda r, c: weights[c][r // reach],
        count=counts,
        act_enable=lambda r, c: runs[r][first(c)],
        weight_enable=lambda r, c: runs[first(r)][c],
    )


def _add_exit(
    m: Module,
    platform: Any,
    o: stream.Interface,
    load_soon: Value,
    load: Value,
    busy: Signal,
    held: Sequence[Sequence[Value]],
    held_act_sums: Sequence[Value],
    held_final: Value,
) -> None:
    """Columns of a tile that is held leave one after the other, from the cycle after `load` on. `busy` until the last
    one is on its way, and where a tile comes in the next cycle.

    They are selected in two steps, in each pair of columns and then among pairs, with registers behind both. All move
    if there was room at the output a cycle before, of which parts of a row have copies; what leaves in between is kept.
    """
    rows, columns = len(held), len(held[0])
    room = ~o.valid | o.ready
    go = Signal(init=1)
    select, select_next = Signal(columns), Signal(columns)
    waiting = Signal()
    m.d.comb += [
        select_next.eq(Mux(load, 1, Mux(go, select << 1, select))),
        busy.eq(load_soon | load | waiting),
    ]
    m.d.sync += [go.eq(room), select.eq(select_next), waiting.eq(load | (waiting & ~(go & select[-1])))]
    selects = [add_copies(m, platform, f"select{c}_", select_next[c], rows) for c in range(columns)]
    leaves = [add_copies(m, platform, f"go{r}_", room, (columns + 1) // 2 + 1) for r in range(rows)]

    def leave(name: str, value: Value, moves: Value) -> Value:
        column = register(m, name, value, moves)
        return Mux(moves, column, register(m, f"{name}_kept", column, moves))

    leaving = []
    for r, row in enumerate(held):
        last, *pairing = leaves[r]
        chosen = [value & selects[c][r].replicate(len(value)) for c, value in enumerate(row)]
        pairs = itertools.zip_longest(chosen[::2], chosen[1::2], fillvalue=Const(0))
        registers = [
            register(m, f"pair_{r}_{c}", (low | high)[: len(row[0])], pairing[c]) for c, (low, high) in enumerate(pairs)
        ]
        leaving.append(leave(f"column{r}", functools.reduce(operator.or_, registers), last))
    column_act_sums = [
        leave(f"column_act_sum{r}", register(m, f"pair_act_sum{r}", each, leaves[r][0]), leaves[r][0])
        for r, each in enumerate(held_act_sums)
    ]
    paired_valid, column_valid, column_valid_next = Signal(), Signal(), Signal()
    m.d.comb += column_valid_next.eq(Mux(go, paired_valid, column_valid))
    m.d.sync += [column_valid.eq(column_valid_next), o.valid.eq(column_valid_next | ~room)]
    with m.If(go):
        m.d.sync += paired_valid.eq(waiting)
    paired_final = register(m, "paired_final", held_final & select[-1], go)
    m.d.comb += [
        o.payload.sums.eq(Cat(leaving)),
        o.payload.act_sums.eq(Cat(column_act_sums)),
        o.payload.final.eq(leave("column_final", paired_final, go)),
    ]
