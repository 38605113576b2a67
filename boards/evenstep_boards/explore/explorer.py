"""Exploration: engines of all sorts for networks and a device, and which of them no other one beats.

Everything is estimated first: cycles and memories are exact, LUTs are not. Where engines are to be synthesized or
routed, which takes minutes each, those on the front of the estimates are, of every kind of counter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, TypeVar

from evenstep.checks import check_choice
from evenstep.estimate import estimate_area
from evenstep.estimate.room import Room, memory_room
from evenstep.spec import COUNTERS, Geometry, Network
from evenstep_boards.explore.front import pareto_front
from evenstep_boards.explore.jobs import (
    Accuracy,
    Design,
    Routing,
    Shared,
    Synthesized,
    job_key,
)
from evenstep_boards.explore.places import Place
from evenstep_boards.explore.result import METHODS, Exploration, Point
from evenstep_boards.explore.sweep import Sweep
from evenstep_boards.images import ImageSet
from evenstep_boards.measure import Store, run_jobs, unfinished

__all__ = ["Plan", "explore"]

J = TypeVar("J", Accuracy, Design, Synthesized, Routing)

#: Tenths of a device's LUTs that engines may take by estimate or synthesis, as routing needs some air.
_TENTHS = 9


@dataclass(frozen=True)
class Plan:
    """What to explore.

    Parameters
    ----------
    networks : mapping of str to (str, Network)
        By name, each with the digest of its file.
    sweep : Sweep
        Arrays to try.
    place : Place
        The device.
    method : str
        One of `METHODS`.
    seeds : int
        Placements of each engine, with seeds from 1 on, where engines are routed.
    clock : float or None
        MHz of all engines; None: what each was routed for.
    pictures : (str, ImageSet) or None
        To count accuracy on, with their digest; None: it is not counted.

    Raises
    ------
    ValueError
        The sweep names a counter that the device has no cells for.
    """

    networks: Mapping[str, tuple[str, Network]]
    sweep: Sweep
    place: Place
    method: str = METHODS[0]
    seeds: int = 3
    clock: float | None = None
    pictures: tuple[str, ImageSet] | None = None

    def __post_init__(self) -> None:
        for counter in self.sweep.counter:
            check_choice("Counter on this device", counter, self.counters)

    @property
    def counters(self) -> tuple[str, ...]:
        """Counters that the device has the cells for."""
        return tuple(name for name in COUNTERS if name in (COUNTERS[0], self.place.family))


def explore(
    plan: Plan,
    store: Store,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Exploration:
    """Explore, and compute only what `store` lacks.

    Parameters
    ----------
    workers, scheduler
        As those of `evenstep_boards.measure.run_jobs`.
    progress : callable of (what, done, all), optional
        Called before and after each computation.
    """
    return _Explorer(plan, store, workers, scheduler, progress).run()


class _Explorer:
    def __init__(
        self,
        plan: Plan,
        store: Store,
        workers: int | None,
        scheduler: str | None,
        progress: Callable[[str, int, int], None] | None,
    ) -> None:
        self._plan, self._store = plan, store
        self._workers, self._scheduler, self._progress = workers, scheduler, progress
        self._networks = dict(plan.networks.values())
        self._shared = Shared(self._networks, {})
        self._found = Exploration()
        self._measures = plan.method != METHODS[0]
        self._most_luts = plan.place.device.luts * _TENTHS // 10

    def run(self) -> Exploration:
        points = self._estimate(self._accuracies())
        if self._measures:
            points = self._measure(self._shortlist(points))
        front = set(pareto_front([point.costs for point in points]))
        ordered = sorted(range(len(points)), key=lambda number: (number not in front, -points[number].frames))
        self._found.points = [points[number] for number in ordered]
        self._found.front = len(front)
        return self._found

    def _compute(self, what: str, jobs: Sequence[J], shared: Shared) -> dict[J, dict[str, Any]]:
        """Records of jobs; those that failed are counted by what they said."""
        keys = {job_key(job): job for job in jobs}
        left, done = len(unfinished(keys, self._store)), 0

        def tell(_key: str = "", _record: dict[str, Any] | None = None) -> None:
            nonlocal done
            done += bool(_key)
            if self._progress is not None:
                self._progress(what, done, left)

        tell()
        records = run_jobs(shared, keys, self._store, workers=self._workers, scheduler=self._scheduler, progress=tell)
        return {keys[key]: record for key, record in records.items()}

    def _accuracies(self) -> dict[str, float]:
        """Share of pictures that each network gets right, by its digest."""
        if self._plan.pictures is None:
            return {}
        name, pictures = self._plan.pictures
        jobs = [Accuracy(network, name) for network in self._networks]
        records = self._compute("Counting accuracy", jobs, Shared(self._networks, {name: pictures}))
        for job, record in records.items():
            if "error" in record:
                raise RuntimeError(f"Accuracy of {self._networks[job.network].name} is not known: {record['error']}")
        return {job.network: record["right"] / record["pictures"] for job, record in records.items()}

    def _estimate(self, accuracies: Mapping[str, float]) -> list[Point]:
        """Points of all arrays that fit, by estimate."""
        jobs: list[Design] = []
        # Those that there is an estimate for, unless all are measured.
        named = [one for one in self._plan.counters if self._measures or self._luts(Geometry(counter=one))[1]]
        for network in self._networks:
            for array in self._plan.sweep.arrays(self._networks[network], tuple(named)):
                if isinstance(array, str):
                    self._found.leave_out("cannot be generated", array)
                elif array.threshold_style == "requantize" and array.rows > self._plan.place.device.multipliers:
                    self._found.leave_out("too few multipliers", f"{_shape(array)}: one for each row")
                elif self._is_too_large(least := self._luts(_smallest(array))[0]):
                    self._found.leave_out("too many LUTs", f"{_shape(array)}: at least {least:,}")
                else:
                    jobs.append(Design(network, array))
        records = self._compute("Compiling", jobs, self._shared)
        names = {network: name for name, (network, _) in self._plan.networks.items()}
        points = []
        for job, record in records.items():
            if self._is_refused(job.array, record, "cannot run the network"):
                continue
            geometry = Geometry.from_dict(record["geometry"])
            luts, estimated = self._luts(geometry)
            point = Point(
                network=names[job.network],
                geometry=geometry,
                method="estimated",
                cycles=record["cycles"],
                useful=record["useful"],
                luts=luts,
                room=memory_room(geometry, self._plan.place.device),
                clock=self._plan.clock or 1.0,
                fmax=None,
                accuracy=accuracies.get(job.network),
            )
            if not (estimated or self._measures):
                self._found.leave_out(
                    "LUTs not estimated", f"of {geometry.counter} counters: measure them with --synthesize or --route"
                )
            elif self._has_room(point):
                points.append(point)
        return points

    def _shortlist(self, points: Sequence[Point]) -> list[Point]:
        """Engines that are worth measuring: the front of the estimates of each kind of counter.

        Registers tell in the clock, which no estimate knows: so many of them are a kind of their own.
        """
        kinds: dict[tuple[str, int], list[Point]] = {}
        for point in points:
            kinds.setdefault((point.geometry.counter, point.geometry.counter_registers), []).append(point)
        chosen = []
        for kind in kinds.values():
            chosen += [kind[number] for number in pareto_front([point.costs for point in kind])]
        if behind := len(points) - len(chosen):
            self._found.leave_out("behind the front of the estimates", "not measured", behind)
        return chosen

    def _measure(self, points: Sequence[Point]) -> list[Point]:
        """Points with measured figures, of those that still fit."""
        place = self._plan.place
        engines = [Synthesized(point.geometry, place.family, point.room.sprams > 0) for point in points]
        if self._plan.method == "synthesized":
            records = self._compute("Synthesizing", engines, self._shared)
            return [
                point
                for before, engine in zip(points, engines, strict=True)
                if (point := self._synthesized(before, records[engine])) is not None
            ]
        seeds = range(1, self._plan.seeds + 1)
        jobs = [Routing(engine, place.target, seed) for engine in engines for seed in seeds]
        records = self._compute("Routing", jobs, self._shared)
        return [
            point
            for before, engine in zip(points, engines, strict=True)
            if (point := self._routed(before, [records[Routing(engine, place.target, seed)] for seed in seeds]))
            is not None
        ]

    def _synthesized(self, point: Point, record: dict[str, Any]) -> Point | None:
        if self._is_refused(point.geometry, record, "cannot be synthesized"):
            return None
        point = replace(point, method="synthesized", luts=record["luts"], room=self._room(point, record))
        return point if self._has_room(point) else None

    def _routed(self, point: Point, records: Sequence[dict[str, Any]]) -> Point | None:
        for record in records:
            if self._is_refused(point.geometry, record, "no room when routed"):
                return None
        fmax = median(record["fmax"] for record in records)
        clock = self._plan.clock or fmax
        if clock > fmax:
            self._found.leave_out("too slow", f"{_shape(point.geometry)}: {fmax:.1f} MHz, of {clock:g} wanted")
            return None
        luts = round(median(record["luts"] for record in records))
        room = self._room(point, records[0])
        return replace(point, method="routed", luts=luts, room=room, clock=clock, fmax=fmax)

    def _room(self, point: Point, record: dict[str, Any]) -> Room:
        fewer = (point.room.blocks - record["block_rams"]) * self._plan.place.device.block_kbits
        return replace(point.room, blocks=record["block_rams"], kbits=point.room.kbits - fewer)

    def _is_refused(self, geometry: Geometry, record: dict[str, Any], reason: str) -> bool:
        """Whether a record says why there are no figures, which is counted."""
        if "error" in record:
            self._found.leave_out("failed; tried again the next time", f"{_shape(geometry)}: {record['error']}")
        elif "reason" in record:
            self._found.leave_out(reason, f"{_shape(geometry)}: {record['reason']}")
        else:
            return False
        return True

    def _luts(self, geometry: Geometry) -> tuple[int, bool]:
        """LUTs by estimate, and whether it is one of this engine's counters, not of portable ones in their place."""
        family = self._plan.place.family or None
        try:
            return sum(estimate_area(geometry, family).luts.values()), True
        except ValueError:
            return sum(estimate_area(geometry.replace(counter=COUNTERS[0]), family).luts.values()), False

    def _is_too_large(self, luts: int) -> bool:
        return luts > self._most_luts

    def _has_room(self, point: Point) -> bool:
        """Whether the device has room for a point; what has none is counted."""
        place, shape = self._plan.place, _shape(point.geometry)
        if self._is_too_large(point.luts):
            self._found.leave_out("too many LUTs", f"{shape}: {point.luts:,} of {self._most_luts:,}")
        elif point.room.blocks > place.device.blocks:
            self._found.leave_out("too many block RAMs", f"{shape}: {point.room.blocks:,} of {place.device.blocks:,}")
        else:
            return True
        return False


def _smallest(array: Geometry) -> Geometry:
    """The same array with all that a network may leave away, so that no engine of it is smaller."""
    return array.replace(accumulator_bits=4)


def _shape(geometry: Geometry) -> str:
    g = geometry
    return f"{g.rows} x {g.columns} x {g.lanes} of {g.weight_bits} x {g.act_bits} bits"
