"""Passes as a sequencer keeps them, and where the operands of their steps are."""

from typing import Any

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import data

from evenstep.gateware.rotate import to_banks
from evenstep.gateware.schedule import Schedule
from evenstep.gateware.stages import Hold
from evenstep.gateware.timing import is_pipelined, threshold_interval
from evenstep.gateware.window import WindowWalker
from evenstep.spec.geometry import Geometry

__all__ = ["has_blanks", "operand_addresses", "pass_record"]


def has_blanks(geometry: Geometry) -> bool:
    """Whether passes may read word 0 of the activations in every step."""
    return geometry.convolution or threshold_interval(geometry) > 1


def pass_record(geometry: Geometry, act_bits: int, weight_bits: int) -> data.StructLayout:
    """What is kept of a pass, for addresses of activations and weights of so many bits.

    ``single`` says that it has one step; ``steps`` are those that follow the first one.
    """
    return data.StructLayout(
        {
            "act": act_bits,
            "weight": weight_bits,
            "steps": 12,
            "shift": 1,
            "count": 1,
            **({"padding": 9} if geometry.convolution else {}),
            **({"blank": 1} if has_blanks(geometry) else {}),
            "single": 1,
        }
    )


def operand_addresses(
    m: Module,
    geometry: Geometry,
    record: Any,
    schedule: Schedule,
    *,
    walker: WindowWalker | None,
    hold: Hold,
) -> tuple[Value, list[Value]]:
    """Addresses of the weights and, for each place that is read at once, of the activations of a step.

    Parameters
    ----------
    record : View
        The pass, as `pass_record` has it.
    schedule : Schedule
        Says which of its steps it is, and where the weights of its tile are.
    walker : WindowWalker or None
        Where the window is, of geometries with pictures.
    hold : Hold
        Where the array is pipelined, addresses are two of these late with a
        walker, which is told of the step by the first one.
    """
    g = geometry
    pipelined = is_pipelined(g)
    # What a blank pass reads of recoded weights is known: the first word in every step, as more may not be there.
    weights, act = schedule.step_weight, record.act + schedule.step
    if has_blanks(g) and g.lane.recoded:
        weights = Mux(record.blank, schedule.tile_weight, weights)
    weight_address: Value = record.weight + weights
    if walker is None:
        return weight_address, [Mux(record.blank, 0, act) if has_blanks(g) else act]
    act_bits = walker.address_bits
    inside: Value = walker.inside
    offsets: list[Value] = [walker.offset] * walker.rows
    if g.neighbours:
        inside = to_banks(inside, walker.bank)
        behind = (walker.offset + walker.round)[:act_bits]
        # But for the last bank, which is never behind itself.
        offsets[:-1] = [Mux(bank < walker.bank, behind, walker.offset) for bank in range(g.rows - 1)]
    asked_for = [weight_address, record.act, record.padding, record.blank]
    if pipelined:
        # The walker is a step behind, so that it looks at registers alone.
        asked_for = hold(asked_for, "asked_for")
    weight_address, act, padding, blank = asked_for
    found = [(act + walker.tile)[:act_bits], (walker.padding + padding)[:act_bits], inside, *offsets]
    if pipelined:
        # Additions have a register in front of the choice, and the address of weights goes with them.
        found = hold(found, "found")
        weight_address, blank = hold([weight_address, blank], "waiting")
    start, padding, inside, *offsets = found
    # Beyond the picture, operands are those of padding; without any, those of word 0.
    return weight_address, [
        Mux(blank, 0, Mux(within, (start + offset)[:act_bits], padding))
        for within, offset in zip(inside, offsets, strict=True)
    ]
