"""Gateware: parametric components joined by streams."""
