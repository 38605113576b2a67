"""Generation: Verilog, its manifest and its bench, from parameters."""

from evenstep.generate.blocks import BLOCKS, create_block
from evenstep.generate.files import generate_block
from evenstep.generate.manifest import Manifest
from evenstep.generate.verilog import Conventions, emit_verilog

__all__ = ["BLOCKS", "Conventions", "Manifest", "create_block", "emit_verilog", "generate_block"]
