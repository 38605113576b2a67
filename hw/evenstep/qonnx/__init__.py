"""Network files: standard QONNX models, which Netron shows and the `qonnx` executor runs."""

from evenstep.qonnx.reader import read_boundaries, read_network
from evenstep.qonnx.writer import write_network

__all__ = ["read_boundaries", "read_network", "write_network"]
