"""Simulation of generated hardware: runners, bench library, virtual board and demo."""
