"""The virtual board: a generated engine in a simulator, behind the same byte stream as a real one."""

from evenstep_sim.virtual.amaranth import AmaranthTransport
from evenstep_sim.virtual.faults import Faults, FaultyTransport
from evenstep_sim.virtual.process import Trace
from evenstep_sim.virtual.server import EngineServer, PtyEndpoint, TcpEndpoint
from evenstep_sim.virtual.verilated import VerilatedTransport, build_engine

__all__ = [
    "AmaranthTransport",
    "EngineServer",
    "Faults",
    "FaultyTransport",
    "PtyEndpoint",
    "TcpEndpoint",
    "Trace",
    "VerilatedTransport",
    "build_engine",
]
