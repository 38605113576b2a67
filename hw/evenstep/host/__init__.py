"""Host side of an engine: loads programs and runs them, over whatever carries the link's bytes.

The same code talks to a board and to a simulated engine; only the transport differs. `Engine` is what notebooks and
commands use; `EngineClient` is one exchange after the other; `open_transport` finds the way to an engine.
"""

from evenstep.host.client import EngineClient, RunStatus
from evenstep.host.engine import Engine
from evenstep.host.target import open_transport
from evenstep.host.tcp import TcpTransport
from evenstep.host.transport import LinkError, LostMemoryError, NoAnswerError, RefusedError, Transport

__all__ = [
    "Engine",
    "EngineClient",
    "LinkError",
    "LostMemoryError",
    "NoAnswerError",
    "RefusedError",
    "RunStatus",
    "TcpTransport",
    "Transport",
    "open_transport",
]
