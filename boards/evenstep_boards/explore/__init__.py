"""Design-space exploration: which engines for a network and a device no other one beats."""

from evenstep_boards.explore.explorer import Plan, explore
from evenstep_boards.explore.places import PLACES
from evenstep_boards.explore.result import METHODS, Exploration, Point
from evenstep_boards.explore.sweep import Sweep

__all__ = ["METHODS", "PLACES", "Exploration", "Plan", "Point", "Sweep", "explore"]
