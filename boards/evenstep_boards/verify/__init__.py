"""Verification below the source: what the tools made of a board's design, simulated against the integer reference."""

from evenstep_boards.verify.check import Verification, verify_build, verify_design

__all__ = ["Verification", "verify_build", "verify_design"]
