"""Estimates: memory, cycles and area before anything is synthesized."""

from evenstep.estimate.area import AreaEstimate, estimate_area

__all__ = ["AreaEstimate", "estimate_area"]
