"""Place and route with nextpnr: what a synthesized block takes of a device, and how fast it is there.

A block has more ports than a package has pins, and paths from pins say little about it. So it is measured between
flip-flops, which are added to the netlist after synthesis: every input but the clock comes from one, and these form one
long shift register behind a single pin; every output goes to one, whose own output goes nowhere. Hence every path of
the block starts and ends at a flip-flop, and counts for the frequency. No logic is added, and synthesis, which has
never seen the flip-flops, can merge nothing with them: LUTs are all the block's, and the number of flip-flops that was
added is subtracted. (Folding outputs into a parity was no better: it takes LUTs, which share cells with the block's.)

Alone on a large device a block finds its best place; in a full one it is slower. nextpnr packs a block as densely as it
fits, whatever density it is told to keep to. Arrays of some ten thousand LUTs that are packed so find no ways for their
wires, with either router. So there is a device for them with rows that get none of their LUTs, as others are there.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from evenstep.checks import check_choice, check_int
from evenstep_boards.report import read_usage, slowest_path
from evenstep_boards.synthesize import Synthesis
from evenstep_boards.toolchain import BuildTool, find_tool, run_tool

__all__ = [
    "DEVICES",
    "Implementation",
    "NoRoomError",
    "Packing",
    "default_device",
    "pack_netlist",
    "place_netlist",
    "placer",
]


class NoRoomError(RuntimeError):
    """A module is too large for its device."""


@dataclass(frozen=True)
class _Device:
    """A device, its tool, and the plain flip-flop of its family: cell, parameters, and ports for clock, D and Q.

    `fillers` are LUTs that do nothing, by their names, in places that they keep from the module.
    """

    family: str
    name: str
    tool: str
    options: tuple[str, ...]
    flip_flop: str
    parameters: Mapping[str, str]
    clock: str
    d: str
    q: str
    luts: str
    block_rams: str
    dsps: tuple[str, ...]
    fillers: Mapping[str, str] = field(default_factory=dict)


def _rows_of_luts(columns: range, rows: range, every: int, blocks_every: int) -> dict[str, str]:
    """Places of the LUTs of one row in `every` of an ECP5; rows of blocks have none."""
    used = [row for row in rows if row % every == 1 and row % blocks_every != blocks_every - 2]
    return {
        f"filler_{column}_{row}_{lut}": f"X{column}/Y{row}/SLICE{'ABCD'[lut // 2]}.K{lut % 2}"
        for row in used
        for column in columns
        for lut in range(8)
    }


_ICE40: dict[str, Any] = {
    "family": "ice40",
    "tool": "nextpnr-ice40",
    "flip_flop": "SB_DFF",
    "parameters": {},
    "clock": "C",
    "d": "D",
    "q": "Q",
    "luts": "ICESTORM_LC",
    "block_rams": "ICESTORM_RAM",
    "dsps": ("ICESTORM_DSP",),
}
_ECP5: dict[str, Any] = {
    "family": "ecp5",
    "tool": "nextpnr-ecp5",
    "flip_flop": "TRELLIS_FF",
    # The blank makes "1" a string: without it, it would be read as a number.
    "parameters": {"CEMUX": "1 ", "CLKMUX": "CLK", "GSR": "DISABLED", "LSRMUX": "LSR", "REGSET": "RESET"},
    "clock": "CLK",
    "d": "DI",
    "q": "Q",
    "luts": "TRELLIS_COMB",
    "block_rams": "DP16KD",
    "dsps": ("MULT18X18D", "ALU54B"),
}
_LFE5U_85F = _Device(
    name="LFE5U-85F, CABGA756, speed 6",
    options=("--85k", "--package", "CABGA756", "--speed", "6", "--lpf-allow-unconstrained"),
    **_ECP5,
)
#: Devices that blocks are placed on, the first one of a family where none is named.
DEVICES = {
    "hx8k": _Device(
        name="iCE40 HX8K, ct256", options=("--hx8k", "--package", "ct256", "--pcf-allow-unconstrained"), **_ICE40
    ),
    "up5k": _Device(
        name="iCE40 UP5K, sg48", options=("--up5k", "--package", "sg48", "--pcf-allow-unconstrained"), **_ICE40
    ),
    "lfe5u-85f": _LFE5U_85F,
    "lfe5u-85f-spread": replace(
        _LFE5U_85F,
        name=f"{_LFE5U_85F.name}, a third of its rows without LUTs",
        fillers=_rows_of_luts(range(2, 125), range(2, 93), every=3, blocks_every=12),
    ),
    "lfe5u-45f": _Device(
        name="LFE5U-45F, CABGA554, speed 6",
        options=("--45k", "--package", "CABGA554", "--speed", "6", "--lpf-allow-unconstrained"),
        **_ECP5,
    ),
    "lfe5u-25f": _Device(
        name="LFE5U-25F, CABGA381, speed 6",
        options=("--25k", "--package", "CABGA381", "--speed", "6", "--lpf-allow-unconstrained"),
        **_ECP5,
    ),
}

# Any will do: with one clock, nextpnr weighs paths by their slack beside the worst, whatever the target is.
_TARGET_MHZ = 100


@dataclass(frozen=True, kw_only=True)
class Packing:
    """What a module takes of a device.

    Parameters
    ----------
    module, device : str
        What was placed, and where.
    luts : int
        ECP5: LUTs, those of carries, of the ends of carry chains and of distributed RAM included. iCE40: logic cells
        that use their LUT or carry, the ends of carry chains and one constant included; not those that are only a
        flip-flop.
    flip_flops, block_rams, dsps : int
        Cells of each kind.
    carries : int
        Bits of adders, as synthesis made them.
    """

    module: str
    device: str
    luts: int
    flip_flops: int
    carries: int
    block_rams: int
    dsps: int


@dataclass(frozen=True, kw_only=True)
class Implementation(Packing):
    """What a module takes of a device, and how fast it is there, after place and route.

    Parameters
    ----------
    seed : int
        Of the placer.
    fmax : float
        MHz, in the worst case that the tool knows.
    critical_path : str
        The slowest path: its ends, its delay, and how much of that is routing.
    """

    seed: int
    fmax: float
    critical_path: str


def default_device(family: str) -> str:
    """The one of `DEVICES` that blocks of a family are placed on; `ValueError` where they are only synthesized."""
    families = tuple(dict.fromkeys(device.family for device in DEVICES.values()))
    check_choice("Family to place on", family, families)
    return next(name for name, device in DEVICES.items() if device.family == family)


def placer(device: str) -> BuildTool:
    """The tool that places on one of `DEVICES`; `RuntimeError` if it is not installed."""
    return find_tool(DEVICES[device].tool)


def place_netlist(
    synthesis: Synthesis, *, folder: Path, clock: str = "clk", seed: int = 1, device: str | None = None
) -> Implementation:
    """Place and route a synthesized module, alone on a device of its family, with nextpnr.

    The same netlist and seed give the same figures.

    Parameters
    ----------
    synthesis : Synthesis
        The module.
    folder : Path
        Gets nextpnr's output, ``MODULE_FAMILY_place.log``. Made if missing.
    clock : str
        The module's clock.
    seed : int
        Of the placer, 0 to 2**31 - 1.
    device : str
        One of `DEVICES` of the module's family. Left out: iCE40 HX8K in ct256, or ECP5 LFE5U-85F in CABGA756 of speed
        grade 6.

    Raises
    ------
    NoRoomError
        The module does not fit its device; the message names the limit.
    RuntimeError
        nextpnr is not installed, or fails; the message says what to do, or where the output is.
    TypeError, ValueError
        The seed is of the wrong kind or out of range, the netlist is none, or has no such clock; the family has no such
        device.
    """
    chosen = _choose(synthesis, device)
    check_int("Seed", seed, 0, 2**31 - 1)
    options = ["--report", "report.json", "--seed", str(seed)]
    with _run(synthesis, chosen, folder, clock, "place", options) as (output, scratch, added):
        report = json.loads((scratch / "report.json").read_text())
    if not report["fmax"]:
        raise RuntimeError(
            f"{synthesis.module} has no path between flip-flops of {clock}: there is no frequency to measure"
        )
    return Implementation(
        **asdict(_count(synthesis, chosen, output, added)),
        seed=seed,
        fmax=min(each["achieved"] for each in report["fmax"].values()),
        critical_path=_describe(slowest_path(report)),
    )


def pack_netlist(synthesis: Synthesis, *, folder: Path, clock: str = "clk", device: str | None = None) -> Packing:
    """What a synthesized module takes of a device, without placing it: seconds, where that takes minutes.

    Placing changes none of it. Parameters and errors as those of `place_netlist`; `folder` gets
    ``MODULE_FAMILY_pack.log``.
    """
    chosen = _choose(synthesis, device)
    with _run(synthesis, chosen, folder, clock, "pack", ["--pack-only"]) as (output, _, added):
        return _count(synthesis, chosen, output, added)


def _choose(synthesis: Synthesis, device: str | None) -> _Device:
    name = device or default_device(synthesis.family)
    check_choice("Device", name, tuple(name for name, each in DEVICES.items() if each.family == synthesis.family))
    return DEVICES[name]


@contextmanager
def _run(
    synthesis: Synthesis, device: _Device, folder: Path, clock: str, verb: str, options: Sequence[str]
) -> Iterator[tuple[str, Path, int]]:
    """Run nextpnr: its messages, the folder of what it made, and the number of flip-flops that were added."""
    tool = find_tool(device.tool)
    name = synthesis.module
    module = _read_module(synthesis)
    added = _add_flip_flops(module, clock, device)
    _add_fillers(module, device)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}_{synthesis.family}_{verb}.log"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".place-") as inside:
        scratch = Path(inside)
        (scratch / "netlist.json").write_text(json.dumps({"creator": "Evenstep", "modules": {name: module}}))
        arguments = ["--json", "netlist.json", "--top", name, *options]
        arguments += ["--freq", str(_TARGET_MHZ), "--timing-allow-fail", *device.options]
        try:
            output = run_tool(tool, arguments, folder=scratch, log=log, doing=f"{verb} {name} on {device.name}")
        except RuntimeError:
            if missing := _missing_room(log.read_text("utf-8", "replace"), device):
                raise NoRoomError(
                    f"{name} does not fit {device.name}: with the {added:,} flip-flops around it, it takes {missing}"
                ) from None
            raise
        yield output, scratch, added


def _count(synthesis: Synthesis, device: _Device, output: str, added: int) -> Packing:
    """Cells that nextpnr says it uses, but the flip-flops that were added."""
    usage = {cell: used for cell, used, _ in read_usage(output)}

    def used(*kinds: str) -> int:
        return sum(usage.get(kind, 0) for kind in kinds)

    if synthesis.family == "ice40":
        alone = _cells_used_as(output, "DFF only")
        luts, flip_flops = used(device.luts) - alone, alone + _cells_used_as(output, "LUT4 and DFF")
    else:
        luts, flip_flops = used(device.luts) - len(device.fillers), used("TRELLIS_FF")
    return Packing(
        module=synthesis.module,
        device=device.name,
        luts=luts,
        flip_flops=flip_flops - added,
        carries=synthesis.carries,
        block_rams=used(device.block_rams),
        dsps=used(*device.dsps),
    )


def _read_module(synthesis: Synthesis) -> dict[str, Any]:
    """The module of a netlist, as Yosys's JSON has it."""
    try:
        module = json.loads(synthesis.cells.read_text("utf-8"))["modules"][synthesis.module]
        if not (isinstance(module["ports"], dict) and isinstance(module["cells"], dict)):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{synthesis.cells} is no netlist of {synthesis.module} by Yosys") from None
    return module


def _add_flip_flops(module: dict[str, Any], clock: str, device: _Device) -> int:
    """Put the module between flip-flops; returns their number."""
    ports = module["ports"]
    if clock not in ports or ports[clock]["direction"] != "input":
        raise ValueError(f"Clock must be one of the module's inputs, not {clock!r}")
    cells = module["cells"]
    before = len(cells)
    nets = [ports[clock]["bits"], *(port["bits"] for port in ports.values())]
    nets += [bits for cell in cells.values() for bits in cell["connections"].values()]
    feed = last = 1 + max(bit for bits in nets for bit in bits if isinstance(bit, int))

    def add(name: str, source: int, target: list[int]) -> None:
        connections = {device.clock: ports[clock]["bits"], device.d: [source], device.q: target}
        cells[name] = {
            "type": device.flip_flop,
            "parameters": dict(device.parameters),
            "attributes": {},
            "port_directions": {device.clock: "input", device.d: "input", device.q: "output"},
            "connections": connections,
        }

    for name, port in ports.items():
        for index, net in enumerate(port["bits"]):
            if port["direction"] == "input" and name != clock:
                add(f"input {name}[{index}]", last, [net])
                last = net
            elif port["direction"] == "output" and isinstance(net, int):  # not a constant
                add(f"output {name}[{index}]", net, [])
    module["ports"] = {clock: ports[clock], "evenstep_feed": {"direction": "input", "bits": [feed]}}
    return len(cells) - before


def _add_fillers(module: dict[str, Any], device: _Device) -> None:
    """Put LUTs without ports where the module shall have none."""
    for name, place in device.fillers.items():
        module["cells"][name] = {
            "type": "LUT4",
            "parameters": {"INIT": f"{0:016b}"},
            "attributes": {"BEL": place},
            "port_directions": {},
            "connections": {},
        }


def _cells_used_as(output: str, use: str) -> int:
    """Logic cells of an iCE40 that the packer made for one use."""
    found = re.search(rf"^Info: +(\d+) LCs used as {use}$", output, re.MULTILINE)
    if found is None:
        raise RuntimeError(
            f"nextpnr must say how many logic cells it used as {use}: use the version of the extra boards"
        )
    return int(found[1])


def _missing_room(output: str, device: _Device) -> str:
    """What nextpnr, which failed, took too much of; nothing where that was not the reason."""
    usage = read_usage(output)
    full = [each for each in usage if each[1] > each[2]]
    if not full and "Unable to find legal placement" in output:  # so little is left that it finds none
        full = [each for each in usage if each[0] == device.luts]
    return ", ".join(f"{used:,} {cell} of {available:,}" for cell, used, available in full)


def _describe(slowest: list[dict[str, Any]]) -> str:
    """The slowest path between flip-flops, in a line."""
    total = sum(step["delay"] for step in slowest)
    routing = sum(step["delay"] for step in slowest if step["type"] == "routing")
    logic = sum(step["type"] == "logic" for step in slowest)
    start, end = slowest[0]["from"]["cell"], slowest[-1]["to"]["cell"]
    return f"{start} to {end}, {total:.2f} ns, {routing:.2f} ns of it routing, through {logic} cells"
