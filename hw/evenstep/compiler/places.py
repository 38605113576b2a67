"""Places: how the tensors of a network lie in an engine's memories, and where."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

from evenstep.compiler.activations import Lifetime, place_tensors
from evenstep.compiler.checks import check_fit
from evenstep.compiler.concat import Copy, Shared
from evenstep.compiler.layout import Layout
from evenstep.compiler.operations import Operation
from evenstep.compiler.program import Placement, WidePlacement
from evenstep.spec.geometry import Geometry
from evenstep.spec.layer import Dense
from evenstep.spec.network import INPUT
from evenstep.spec.pool import MaxPool
from evenstep.spec.tensor import TensorType

__all__ = ["code_layouts", "count_outputs", "place_codes", "place_wide"]


def code_layouts(
    types: Mapping[str, TensorType], operations: list[Operation], shared: Iterable[Shared], g: Geometry
) -> dict[str, Layout]:
    """How codes lie: of the input, as a vector if none but fully connected layers take it, of each operation, and of
    what these share.

    Where rows are neighbours, lines are interleaved as windows want them that move down.
    """
    steps = _steps(types, operations, g, shared)
    coded = {one.name: one for one in operations if one.coded}
    joined = {name: one.parts[slice(*at)] for one in shared for name, at in one.concats.items()}

    @cache
    def runs(name: str) -> tuple[int, ...]:
        """Channels of each run of a pixel."""
        if name in joined:
            return tuple(run for part in joined[name] for run in runs(part))
        if name in coded and isinstance(coded[name].layer, MaxPool | Copy):
            return runs(coded[name].source)  # word by word, as its source lies
        return (types[name].channels,)

    layouts = {}
    for name in (INPUT, *coded, *joined):
        shape, bits = types[name].shape, types[name].high.bit_length()
        if name == INPUT and all(isinstance(one.layer, Dense) for one in operations if one.source == INPUT):
            shape = (types[name].size,)
        layout, own = Layout.of(shape, bits, g, steps.get(name, 1)), runs(name)
        layouts[name] = replace(layout, runs=own) if len(own) > 1 else layout
    for one in shared:
        words = layouts[one.name].pixel_words
        for name in (*one.parts, *one.concats):
            layouts[name] = replace(layouts[name], skip=words - layouts[name].pixel_words)
    for one in operations:
        if one.thresholds is not None and (turns := _turns(layouts[one.name])) > g.lanes:
            raise ValueError(
                f"{one.name} has words that are written in {turns} turns, more than the engine's {g.lanes} lanes: "
                f"generate it with --lanes {turns}"
            )
    return layouts


def _steps(
    types: Mapping[str, TensorType], operations: list[Operation], g: Geometry, shared: Iterable[Shared] = ()
) -> dict[str, int]:
    """Lines that windows over each tensor move down by, where rows are neighbours; what is shared is one tensor."""
    if not g.neighbours:
        return {}
    found = {one.source: step for one in operations if (step := one.step(types)) is not None}
    for one in shared:
        names = (*one.parts, *one.concats)
        wanted = {found[name] for name in names if name in found}
        found |= dict.fromkeys(names, max(wanted, default=1))
    return found


def _turns(target: Layout) -> int:
    """Turns that writing a word of codes takes: for its digits, and for rows whose lines share a bank."""
    return target.digits * target.banks.interleave


def count_outputs(channels: int, target: Layout | None) -> int:
    """Outputs that give `channels` channels of a layout, with those that nobody reads.

    These are there so that the last word of a pixel has as many codes as it takes turns to write one, and never waits
    for the others.
    """
    rest = channels % target.lanes if target else 0
    turns = _turns(target) if target else 1
    return channels + turns - rest if 0 < rest < turns else channels


def place_codes(
    layouts: Mapping[str, Layout], operations: list[Operation], shared: Iterable[Shared], g: Geometry, *, first: int
) -> tuple[dict[str, Placement], int]:
    """Places of the input, of each operation's codes and of what these share, from word `first` on; and how many words
    would do."""
    written = {INPUT: -1, **{operation.name: n for n, operation in enumerate(operations)}}
    read = {**written, **{operation.source: n for n, operation in enumerate(operations)}}
    tensors = {name: Lifetime(one.words, written[name], read[name]) for name, one in layouts.items() if name in written}
    within: dict[str, tuple[str, int]] = {}  # what lies in the pixels of which tensor, and words before it
    for one in shared:
        parts = [tensors.pop(part) for part in one.parts]
        latest = max(read.get(name, 0) for name in (*one.parts, *one.concats))
        tensors[one.name] = Lifetime(layouts[one.name].words, min(part.written for part in parts), latest)
        starts = {part: number for number, part in enumerate(one.parts)}
        for name, start in (starts | {concat: first for concat, (first, _) in one.concats.items()}).items():
            within[name] = one.name, sum(layouts[part].pixel_words for part in one.parts[:start])
    bases, needed = _place(tensors, "act_depth", g, first=first)
    bases |= {name: bases[whole] + words for name, (whole, words) in within.items()}
    return {name: Placement(base, layouts[name]) for name, base in bases.items()}, needed


def place_wide(
    types: Mapping[str, TensorType],
    operations: list[Operation],
    layouts: Mapping[str, Layout],
    g: Geometry,
) -> tuple[dict[str, WidePlacement], int]:
    """Places of all wide numbers that are kept, and how few would do for them.

    Those that an operation writes or adds pass by beside its outputs, so a pixel has room for as many.
    """
    kept = {one.kept: number for number, one in enumerate(operations) if one.kept is not None}
    strides = {name: 0 for name in kept}
    read = dict(kept)
    for number, one in enumerate(operations):
        for name in (one.kept, one.shortcut):
            if name is not None:
                strides[name] = max(strides[name], count_outputs(types[one.name].channels, layouts.get(one.name)))
        for name in (one.source, one.shortcut):
            if name in kept:
                read[name] = number
    steps = _steps(types, operations, g)
    places = {name: WidePlacement(0, types[name].shape, strides[name], g.banks(steps.get(name, 1))) for name in kept}
    tensors = {name: Lifetime(places[name].words, kept[name], read[name]) for name in kept}
    bases, needed = _place(tensors, "wide_depth", g, first=0)
    return {name: replace(place, base=bases[name]) for name, place in places.items()}, needed


def _place(tensors: Mapping[str, Lifetime], parameter: str, g: Geometry, *, first: int) -> tuple[dict[str, int], int]:
    """First words of tensors in the memory of a depth, a parameter of `Geometry`; and how many words would do."""
    least = place_tensors(tensors, first=first, depth=0)
    needed = max((base + tensors[name].words for name, base in least.items()), default=0)
    check_fit(parameter, needed, g)
    return place_tensors(tensors, first=first, depth=getattr(g, parameter)), needed
