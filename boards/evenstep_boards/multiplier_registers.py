"""Registers of ECP5's multipliers.

A multiplier alone takes most of a cycle of a fast design, unless its operands and products are in registers of its
own, which synthesis does not use. Where there are flip-flops in front of all bits of both operands, it gets copies of
them; where all bits of a product go to flip-flops and nowhere else, they move into it.
"""

from pathlib import Path
from typing import Any

from evenstep_boards.netlist import change_modules, count_names, find_control

__all__ = ["use_multiplier_registers"]

_KIND = "MULT18X18D"
_OPERANDS, _OPERAND_BITS = "AB", 18
_PRODUCT, _PRODUCT_BITS = "P", 36


def use_multiplier_registers(netlist: Path) -> int:
    """Put flip-flops into multipliers in a netlist of Yosys's JSON, which is replaced; how many fewer are left."""
    return change_modules(netlist, _move)


def _move(module: dict[str, Any]) -> int:
    cells: dict[str, dict[str, Any]] = module["cells"]
    plain = {name: cell["connections"] for name, cell in cells.items() if _control(cell) is not None}
    in_front = {wires["Q"][0]: name for name, wires in plain.items()}
    behind = {wires["DI"][0]: name for name, wires in plain.items()}
    named = count_names(module)
    before = len(cells)
    for multiplier in [cell for cell in cells.values() if cell["type"] == _KIND]:
        wires = multiplier["connections"]
        clock = None
        used = {port: wires[port][0] for port in _ports(_PRODUCT, _PRODUCT_BITS) if named[_bit(wires, port)] > 1}
        products = {port: behind.get(bit, "") if named[bit] == 2 else "" for port, bit in used.items()}
        control = _shared(cells, products)
        if control is not None:
            clock = control[0]
            _add_register(multiplier, "OUTPUT", 2, control)
            for port, name in products.items():
                wires[port] = cells.pop(name)["connections"]["Q"]
                in_front.pop(wires[port][0])
        # The tools know no delays of a multiplier with one operand in a register.
        operands = [
            {port: in_front.get(wires[port][0], "") for port in _ports(name, _OPERAND_BITS) if wires[port] != ["0"]}
            for name in _OPERANDS
        ]
        controls = [control for control in (_shared(cells, names) for names in operands) if control is not None]
        if len(controls) < len(operands) or len({control[0] for control in controls} | ({clock} - {None})) > 1:
            continue
        for number, (name, names) in enumerate(zip(_OPERANDS, operands, strict=True)):
            _add_register(multiplier, f"INPUT{name}", number, controls[number])
            for port, flip_flop in names.items():
                named[wires[port][0]] -= 1
                wires[port] = cells[flip_flop]["connections"]["DI"]
                named[wires[port][0]] += 1
        for name in {name for names in operands for name in names.values()}:
            if named[cells[name]["connections"]["Q"][0]] == 1:
                data = cells.pop(name)["connections"]["DI"][0]
                named[data] -= 1
                behind.pop(data)
    return before - len(cells)


def _control(cell: dict[str, Any]) -> tuple[Any, Any] | None:
    return find_control(cell) if cell["type"] == "TRELLIS_FF" else None


def _ports(name: str, bits: int) -> list[str]:
    return [f"{name}{number}" for number in range(bits)]


def _bit(wires: dict[str, list[Any]], port: str) -> Any:
    return wires[port][0] if wires.get(port) else None


def _shared(cells: dict[str, dict[str, Any]], names: dict[str, str]) -> tuple[Any, Any] | None:
    """Clock and enable that the flip-flops of all ports have; None: they differ, or there is a port without one."""
    controls = {_control(cells[name]) if name else None for name in names.values()}
    return controls.pop() if len(controls) == 1 else None


def _add_register(multiplier: dict[str, Any], place: str, number: int, control: tuple[Any, Any]) -> None:
    clock, enable = control
    for pin, bit in (("CLK0", clock), (f"CE{number}", enable), ("RST0", "0")):
        multiplier["connections"][pin] = [bit]
        multiplier["port_directions"][pin] = "input"
    pins = {"CLK": "CLK0", "CE": f"CE{number}", "RST": "RST0"}
    multiplier["parameters"] |= {f"REG_{place}_{kind}": pin for kind, pin in pins.items()}
