"""Question and answer over a line that may lose, damage, repeat or invent bytes."""

import time
from collections import deque

from evenstep.host.transport import NoAnswerError, RefusedError, Transport
from evenstep.link.protocol import MAX_FRAME, Command, Frame, FrameReader, Status, encode_frame

__all__ = ["Exchange"]

_TRIES = 5
# Bytes without an answer among them after which a try is given up: what talks is no engine, or the line is noise.
_BABBLE = 64 * MAX_FRAME


class Exchange:
    """Asks an engine one thing at a time.

    Each try carries a tag of its own, and an answer counts only with the tag of the try at hand. The line keeps the
    order of what it lets through, so that whatever answers earlier tries comes before the answer that counts.

    Parameters
    ----------
    transport : Transport
        Carries the bytes.
    tag : int
        Tag before the first, 0 to 255. Best a random one: answers to a host before may still be on their way.
    limit : float
        Seconds that a try may take, however much is heard.
    """

    def __init__(self, transport: Transport, *, tag: int = 0, limit: float = 60.0):
        self._transport = transport
        self._tag = tag
        self._limit = limit
        self._reader = FrameReader()
        self._frames: deque[Frame] = deque()
        #: Answers to RUN that were heard, those to earlier tries and repeated ones included.
        self.runs_answered = 0

    @property
    def damaged(self) -> int:
        """Damaged frames that were heard."""
        return self._reader.dropped

    def ask(self, command: Command, body: bytes = b"", *, tries: int = _TRIES, trailer: bytes = b"") -> bytes:
        """Body of the engine's answer to a command; `trailer` is sent behind it.

        Raises
        ------
        NoAnswerError
            None of the tries was answered.
        RefusedError
            The engine refuses.
        """
        for _ in range(tries):
            self._tag = (self._tag + 1) % 256
            self._transport.write(encode_frame(Frame(self._tag, command, body)) + trailer)
            answer = self._await(command)
            if answer is not None:
                if answer[0] != Status.OK:
                    raise RefusedError(command, answer[0])
                return answer[1:]
        raise NoAnswerError(f"Engine does not answer {command.name}, asked {tries} time{'s' * (tries > 1)}")

    def _await(self, command: Command) -> bytes | None:
        """Status and body of the answer to the try at hand; None if it does not come."""
        end = time.monotonic() + self._limit
        heard = 0
        while True:
            while self._frames:
                frame = self._frames.popleft()
                self.runs_answered += frame.command == Command.RUN
                if (frame.tag, frame.command) == (self._tag, command) and frame.body:
                    return frame.body
            if heard > _BABBLE or time.monotonic() > end:
                return None
            data = self._transport.read()
            if not data:
                return None
            heard += len(data)
            self._frames.extend(self._reader.feed(data))
