"""Boards and FPGA families: synthesis of generated engines. Board tops and flashing are to come."""
