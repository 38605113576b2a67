"""The engine as a block of a system on chip: AXI4-Lite control, AXI4-Stream data."""
