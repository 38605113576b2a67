"""An engine in Amaranth's own simulator: the virtual board where no compiler is."""

from amaranth.sim import Simulator

from evenstep.gateware.engine import Engine
from evenstep.spec import Geometry

__all__ = ["AmaranthTransport"]


class AmaranthTransport:
    """Transport to an engine that is simulated in this process, some hundred cycles per second.

    Parameters
    ----------
    geometry : Geometry
        Of the engine.
    silence : int
        Cycles without a byte, while no program runs, after which `read` gives up.
    """

    def __init__(self, geometry: Geometry, *, silence: int = 4096):
        self._silence = silence
        self._engine = Engine(geometry)
        self._sent = bytearray()
        self._answer = bytearray()
        self._idle = False
        simulator = Simulator(self._engine)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self._exchange)
        self._simulator = simulator

    async def _exchange(self, ctx) -> None:
        engine = self._engine
        ctx.set(engine.o.ready, 1)
        silent = 0
        while True:
            offered = bool(self._sent)
            ctx.set(engine.i.valid, offered)
            if offered:
                ctx.set(engine.i.payload, self._sent[0])
            _, _, taken, valid, byte, busy = await ctx.tick().sample(
                engine.i.ready, engine.o.valid, engine.o.payload, engine.busy
            )
            silent += 1
            if offered and taken:
                del self._sent[0]
                silent = 0
            if valid:
                self._answer.append(byte)
                silent = 0
            if busy:
                silent = 0
            self._idle = silent > self._silence

    def write(self, data: bytes) -> None:
        """Send `data`."""
        self._sent += data
        self._idle = False

    def read(self) -> bytes:
        """What has arrived; the simulation goes on until something has, or all is silent."""
        while not self._answer and not self._idle:
            self._simulator.advance()
        data = bytes(self._answer)
        self._answer.clear()
        return data

    def close(self) -> None:
        """Nothing to give up."""
