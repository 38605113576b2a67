"""What the tools do of a build: synthesis once, place and route for each seed, the best packed."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from evenstep.files import write_file
from evenstep_boards.board import Board
from evenstep_boards.carries import open_carry_ends
from evenstep_boards.multiplier_registers import use_multiplier_registers
from evenstep_boards.output_registers import use_output_registers
from evenstep_boards.report import Routing, read_routing, refuse_size
from evenstep_boards.toolchain import BuildTool, Processes, first_error

__all__ = ["DESIGN", "Progress", "Steps"]

#: Name of a board's design, and of its files.
DESIGN = "top"

#: Called with a stage, and whether it has ended; from any thread.
Progress = Callable[[str, bool], None]

# Iterations of nextpnr's second router. It takes about 50 where it ends at all. For some seeds it does not, and the
# first one, which is slow for full devices, must serve.
_MAX_ITERATIONS = 200

# What nextpnr says of a placement in which a wire finds no way at all, with either router; of Gowin's some are such.
# Another placement serves: how many are tried for a seed, and how far their seeds are apart, more than there are.
_NO_WAY = ("Failed to route arc", "Routing design failed")
_PLACEMENTS, _NEXT_SEED = 4, 10_000


class Steps:
    """The tools' runs of one build: `synthesize`, `route` and `pack`, in this order.

    Parameters
    ----------
    board : Board
        To build.
    processes : Processes
        Runs the tools.
    tools : sequence of BuildTool
        For synthesis, for place and route, and for packing: as Amaranth's platforms for these families have them.
    arguments : sequence of list of str
        Of each.
    scratch : Path
        Holds the files of Amaranth's plan, and gets what the tools make.
    stage : callable
        Called with the name of a stage, and whether it has ended.
    folder : Path
        Gets the tools' messages, ``NAME.log``.

    Raises
    ------
    RuntimeError
        From each: its tool fails, the design does not fit the board, or misses its clock.
    """

    def __init__(
        self,
        board: Board,
        processes: Processes,
        tools: Sequence[BuildTool],
        arguments: Sequence[list[str]],
        scratch: Path,
        stage: Progress,
        folder: Path,
    ):
        self.board = board
        self.processes = processes
        steps = zip(tools, arguments, strict=True)
        self.tools: dict[str, tuple[BuildTool, list[str]]] = dict(
            zip(("synthesize", "route", "pack"), steps, strict=True)
        )
        self.scratch = scratch
        self.stage = stage
        self.log = folder / f"{board.name}.log"
        #: MHz that each seed reaches, once they are routed.
        self.fmax: dict[int, float] = {}

    def _run(
        self, step: str, arguments: list[str], folder: Path, stop: Callable[[], bool] = lambda: False
    ) -> str | None:
        """Run a step, until `stop` says so; its messages if it fails."""
        tool = self.tools[step][0]
        output = folder / f"{step}.log"
        if self.processes.run(tool, arguments, folder=folder, output=output, stop=stop):
            return None
        return output.read_text("utf-8", "replace")

    def _refuse(self, step: str, messages: str) -> RuntimeError:
        """Keep a failed tool's messages; the error that names the first."""
        write_file(self.log, messages)
        name, reason = self.tools[step][0].name, first_error(messages)
        return RuntimeError(f"{name} cannot {step} {self.board.name}: {reason} (log: {self.log})")

    @property
    def netlist(self) -> Path:
        """What synthesis hands to place and route."""
        arguments = self.tools["route"][1]
        return self.scratch / arguments[arguments.index("--json") + 1]

    def synthesize(self) -> None:
        """Make the netlist of the design."""
        self.stage("synthesize", False)
        failure = self._run("synthesize", self.tools["synthesize"][1], self.scratch)
        if failure is not None:
            raise self._refuse("synthesize", failure)
        if self.tools["route"][0].name == "nextpnr-ecp5":
            open_carry_ends(self.netlist)
            use_output_registers(self.netlist)
            use_multiplier_registers(self.netlist)
        self.stage("synthesize", True)

    def route(self, seeds: int) -> Routing:
        """The fastest of many placements; raises `RuntimeError` if it is not fast enough.

        A seed without any that is routed is left out, as long as others have one. All else that fails ends them all.
        """
        routed, unrouted = [], []
        with ThreadPoolExecutor(min(seeds, os.cpu_count() or 1)) as pool:
            try:
                for each in as_completed([pool.submit(self._route_seed, seed) for seed in range(1, seeds + 1)]):
                    try:
                        routed.append(each.result())
                    except _RoutingError as error:
                        if not error.has_no_way:
                            raise
                        unrouted.append(error)
                if not routed:
                    raise min(unrouted, key=lambda error: error.seed)
            except BaseException as error:
                self.processes.end()
                pool.shutdown(wait=False, cancel_futures=True)
                if not isinstance(error, _RoutingError):
                    raise
                # The others were ended by this one, so that only its messages say anything.
                write_file(self.log, error.messages)
                refuse_size(error.messages, self.board)
                raise self._refuse("route", error.messages) from None
        self.fmax = {each.seed: each.fmax for each in routed}
        best = max(routed, key=lambda each: (each.fmax, -each.seed))
        logs = [self.scratch / "synthesize.log", self._folder(best.seed) / "route.log"]
        write_file(self.log, "".join(log.read_text("utf-8", "replace") for log in logs))
        if not best.meets:
            tried = f"seed {best.seed}" if len(routed) == 1 else f"the best of {len(routed)} seeds"
            raise RuntimeError(
                f"{self.board.title} misses its clock: {best.fmax:.2f} MHz of {best.wanted:g} MHz with {tried}; the "
                f"slowest path is {best.path()}: try more --seeds or a smaller geometry (log: {self.log})"
            )
        return best

    def _folder(self, seed: int) -> Path:
        return self.scratch / f"seed{seed}"

    def _route_seed(self, seed: int) -> Routing:
        stage = f"place and route, seed {seed}"
        self.stage(stage, False)
        folder = self._folder(seed)
        folder.mkdir()
        # What synthesis and the plan made lies one folder up. Messages are wanted, and timing is judged here.
        above = {path.name for path in self.scratch.iterdir()}
        given = [_from_above(each, above) for each in self.tools["route"][1] if each != "--quiet"]
        options = ["--seed", str(seed), "--report", "report.json", "--timing-allow-fail"]
        failure: str | None = None
        for number in range(_PLACEMENTS):
            options[1] = str(seed + number * _NEXT_SEED)
            failure = self._route_placement([*options, *given], folder)
            if failure is None or not _has_no_way(failure):
                break
        if failure is not None and not _has_no_way(failure):
            raise _RoutingError(seed, failure)
        self.stage(stage, True)
        if failure is not None:
            raise _RoutingError(seed, failure)
        return read_routing(folder / "report.json", self.board, seed)

    def _route_placement(self, arguments: list[str], folder: Path) -> str | None:
        """Run place and route, with the other router if the second one does not end; messages if that fails."""
        log = folder / "route.log"
        failure = self._run("route", arguments, folder, lambda: _is_stuck(log))
        # Looked at once more, as how far the tool came until it was stopped is by chance.
        if _is_stuck(log):
            failure = self._run("route", _with_router(arguments, "router1"), folder)
        return failure

    def pack(self, best: Routing) -> Path:
        """Bitstream of a placement."""
        self.stage("pack", False)
        folder = self._folder(best.seed)
        failure = self._run("pack", self.tools["pack"][1], folder)
        if failure is not None:
            raise self._refuse("pack", failure)
        self.stage("pack", True)
        return folder / f"{DESIGN}.{self.board.bitstream}"


class _RoutingError(Exception):
    """A seed was not routed: the tool's messages."""

    def __init__(self, seed: int, messages: str):
        self.seed, self.messages = seed, messages
        super().__init__(seed)

    @property
    def has_no_way(self) -> bool:
        return _has_no_way(self.messages)


def _has_no_way(messages: str) -> bool:
    """Whether a wire found no way, so that another placement may serve."""
    return any(message in messages for message in _NO_WAY)


def _is_stuck(log: Path) -> bool:
    """Whether the second router of nextpnr has tried so often that it goes round in circles, by its messages."""
    return log.read_bytes().count(b" overused=") > _MAX_ITERATIONS


def _with_router(arguments: Sequence[str], router: str) -> list[str]:
    """Arguments of nextpnr with another router."""
    kept = list(arguments)
    if "--router" in kept:
        place = kept.index("--router")
        del kept[place : place + 2]
    return [*kept, "--router", router]


def _from_above(argument: str, names: set[str]) -> str:
    """Argument of a tool that runs one folder below that of the files `names`: FILE, or OPTION=FILE."""
    option, equals, file = argument.rpartition("=")
    return f"{option}{equals}../{file}" if file in names else argument
