"""Manifest: the JSON file beside generated Verilog, which says what it is."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evenstep.axi.registers import REGISTERS
from evenstep.checks import check_int
from evenstep.gateware.core_memories import host_words
from evenstep.generate.verilog import Conventions, Port, check_identifier
from evenstep.spec.geometry import Geometry

__all__ = ["Manifest"]

_FORMAT = 1
_MAX_BYTES = 2**20


@dataclass(frozen=True)
class Manifest:
    """What a generated folder holds.

    Parameters
    ----------
    block : str
        One of `evenstep.generate.BLOCKS`.
    module : str
        Name of the top module.
    verilog : str
        File name of the Verilog, beside the manifest.
    sha256 : str
        Of that file.
    geometry : Geometry
        Every parameter. Its hash is what an engine reports on the link.
    conventions : Conventions
        Clock and reset.
    ports : tuple of Port
        All ports of the module.
    latency : int or None
        Cycles from a stream's input to its output, where the block has one figure for it.
    generator : str
        Program and version that made it.

    Raises
    ------
    TypeError, ValueError
        A value is not of the kind that it is to be, or the Verilog not a file beside the manifest.
    """

    block: str
    module: str
    verilog: str
    sha256: str
    geometry: Geometry
    conventions: Conventions
    ports: tuple[Port, ...]
    latency: int | None
    generator: str

    def __post_init__(self) -> None:
        for name in ("block", "module", "verilog", "sha256", "generator"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a text, not {getattr(self, name)!r}")
        check_identifier("module", self.module)
        if not self.verilog or Path(self.verilog).name != self.verilog:
            raise ValueError(f"verilog must be a file beside it, not {self.verilog!r}")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, not {self.sha256!r}")
        if self.latency is not None:
            check_int("latency", self.latency, 0)

    def to_json(self) -> str:
        """Text of the file, the same for the same values."""
        values: dict[str, Any] = {
            "format": _FORMAT,
            "generator": self.generator,
            "block": self.block,
            "module": self.module,
            "verilog": self.verilog,
            "sha256": self.sha256,
            "hash": self.geometry.hash.hex(),
            "parameters": self.geometry.to_dict(),
            "conventions": asdict(self.conventions),
            "latency": self.latency,
            "memory_bits": self.geometry.memory_bits if self.block in ("engine", "axi-engine") else {},
            **(self._integration() if self.block == "axi-engine" else {}),
            "ports": [asdict(port) for port in self.ports],
        }
        return json.dumps(values, indent=2) + "\n"

    def _integration(self) -> dict[str, Any]:
        """What software needs to reach the memories: registers, and the region and 32-bit words of each memory."""
        words = host_words(self.geometry).items()
        return {
            "registers": [asdict(register) for register in REGISTERS],
            "regions": [
                {"name": region.name.lower(), "region": int(region), "words": count} for region, count in words
            ],
        }

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest; whatever is wrong with it is a `ValueError` that names the file."""
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"Manifest {path} must be at most {_MAX_BYTES} bytes long, not {path.stat().st_size}")
        try:
            values = json.loads(path.read_text("utf-8"))
            if not isinstance(values, dict):
                raise ValueError(f"it must hold an object, not {type(values).__name__}")
            if values["format"] != _FORMAT:
                raise ValueError(f"format must be {_FORMAT}, not {values['format']!r}")
            manifest = cls(
                block=values["block"],
                module=values["module"],
                verilog=values["verilog"],
                sha256=values["sha256"],
                geometry=Geometry.from_dict(values["parameters"]),
                conventions=Conventions(**values["conventions"]),
                ports=tuple(Port(**port) for port in values["ports"]),
                latency=values["latency"],
                generator=values["generator"],
            )
            if values["hash"] != manifest.geometry.hash.hex():
                raise ValueError("its hash is not that of its parameters")
        except (KeyError, TypeError, ValueError, UnicodeDecodeError, RecursionError) as error:
            reason = f"misses {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path} is no manifest of evenstep: {reason}") from None
        return manifest

    def engine_geometry(self, blocks: Sequence[str] = ("engine",)) -> Geometry:
        """Geometry of the engine that it must be that of; `ValueError` if it is of none of these blocks."""
        if self.block not in blocks:
            raise ValueError(f"Manifest must be that of an engine, not of the block {self.block!r}")
        return self.geometry
