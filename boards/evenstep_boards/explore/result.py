"""What an exploration finds: engines with their figures, and why others are none."""

from dataclasses import dataclass, field

from evenstep.estimate.room import Room
from evenstep.spec import Geometry

__all__ = ["METHODS", "Exploration", "LeftOut", "Point"]

#: Where figures come from, each more exact and slower than the one before.
METHODS = ("estimated", "synthesized", "routed")


@dataclass(frozen=True)
class Point:
    """An engine for a network, and what it costs and gives.

    Parameters
    ----------
    network : str
        Name of its file.
    geometry : Geometry
        Of the engine, sized for the network.
    method : str
        One of `METHODS`: where `luts`, `room` and `fmax` come from.
    cycles : int
        Of a run, of as many frames as the array has rows.
    useful : float
        Share of lane cycles that do useful work.
    luts : int
        LUTs of four inputs.
    room : Room
        Memories.
    clock : float
        MHz that it runs at.
    fmax : float or None
        MHz that it could run at, the median over seeds; None where it was not routed.
    accuracy : float or None
        Share of pictures that the network gets right, 0 to 1.
    """

    network: str
    geometry: Geometry
    method: str
    cycles: int
    useful: float
    luts: int
    room: Room
    clock: float
    fmax: float | None
    accuracy: float | None

    @property
    def frames(self) -> float:
        """Frames a second."""
        return self.geometry.batch * self.clock * 1e6 / self.cycles

    @property
    def costs(self) -> tuple[float, ...]:
        """What is to be small: LUTs, memory, and the negatives of frames a second and accuracy."""
        return (self.luts, self.room.kbits, -self.frames, -(self.accuracy or 0.0))


@dataclass
class LeftOut:
    """Engines that are no points, all for one reason, and what was said of the first one."""

    count: int = 0
    example: str = ""


@dataclass
class Exploration:
    """What an exploration has found.

    Attributes
    ----------
    points : list of Point
        Engines that fit, those on the Pareto front first; each part by frames a second, the fastest first.
    front : int
        Number of points on the front.
    left_out : dict of str to LeftOut
        By reason.
    """

    points: list[Point] = field(default_factory=list)
    front: int = 0
    left_out: dict[str, LeftOut] = field(default_factory=dict)

    def leave_out(self, reason: str, example: str = "", count: int = 1) -> None:
        """Count engines that are no points."""
        entry = self.left_out.setdefault(reason, LeftOut(0, example))
        entry.count += count
