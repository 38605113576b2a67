"""A design to verify, as Verilog, and the pins by which the bench drives it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evenstep_boards.board import Board

__all__ = ["MODELS", "Design", "bench_verilog"]

#: Folder of our own models of cells.
MODELS = Path(__file__).with_name("models")


@dataclass(frozen=True)
class Design:
    """A design below its source.

    Parameters
    ----------
    title : str
        What it is and was made of, for people.
    module : str
        Its top.
    ports : frozenset of str
        Those of its top.
    sources, libraries : tuple of Path
        Verilog: of the design with our own models, and of the models of cells that come with the tools.
    defines : tuple of str
        Macros that these take.
    uncovered : tuple of str
        What is believed and not verified.
    """

    title: str
    module: str
    ports: frozenset[str]
    sources: tuple[Path, ...]
    libraries: tuple[Path, ...]
    defines: tuple[str, ...] = ()
    uncovered: tuple[str, ...] = ()


def bench_verilog(board: Board, design: Design) -> str:
    """Module ``bench``, whose pins are the same for every design; a flash that is not there is never selected.

    Raises
    ------
    ValueError
        The design has not the ports of its board.
    """
    pins: Mapping[str, str] = {
        f"{board.platform().default_clk}_0__io": "clk",
        "uart_0__rx__io": "rx",
        "uart_0__tx__io": "tx",
        "spi_flash_1x_0__cs__io": "flash_select_n",
        "spi_flash_1x_0__clk__io": "flash_clock",
        "spi_flash_1x_0__copi__io": "flash_copi",
        "spi_flash_1x_0__cipo__io": "flash_cipo",
    }
    flash = board.network == "flash"
    used = {port: pin for port, pin in pins.items() if flash or not pin.startswith("flash")}
    missing = sorted(set(used) - design.ports)
    if missing:
        raise ValueError(f"{design.title} must have the ports {', '.join(missing)}: it is of another board")
    lines = [
        "module bench (input clk, rx, flash_cipo, output tx, flash_select_n, flash_clock, flash_copi);",
        f"    {design.module} verified (",
        ",\n".join(f"        .{port}({pin})" for port, pin in used.items()),
        "    );",
    ]
    if not flash:
        lines.append("    assign {flash_select_n, flash_clock, flash_copi} = 3'b100;")
    return "\n".join([*lines, "endmodule", ""])
