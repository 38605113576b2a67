"""Compiler: an integer network and a geometry become a program, with its exact cycle count."""

from evenstep.compiler.compile import compile_network
from evenstep.compiler.cycles import LayerCycles, layer_cycles
from evenstep.compiler.program import CompiledLayer, Placement, Program, Result, WidePlacement

__all__ = [
    "CompiledLayer",
    "LayerCycles",
    "Placement",
    "Program",
    "Result",
    "WidePlacement",
    "compile_network",
    "layer_cycles",
]
