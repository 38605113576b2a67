"""Models of ECP5's cells for Icarus, which does not read all of Yosys's."""

import re
from pathlib import Path

from evenstep_boards.synthesize import cell_models

__all__ = ["write_models"]


def write_models(path: Path) -> None:
    """Write those of LUTs, flip-flops and carries."""
    text = "".join((cell_models("ecp5").parent / name).read_text() for name in ("common_sim.vh", "ccu2c_sim.vh"))
    kept = re.findall(r"^module (?:LUT2|LUT4|PFUMX|TRELLIS_FF|CCU2C)\b.*?^endmodule", text, re.MULTILINE | re.DOTALL)
    path.write_text("\n".join(kept))
