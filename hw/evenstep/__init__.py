"""Low-bit neural-network accelerators: integer specification, gateware, compiler and Verilog generation."""

__all__ = ["__version__"]

__version__ = "0.1.0"
