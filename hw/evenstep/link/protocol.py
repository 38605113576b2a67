"""Frames and commands of the link: what host and gateware both hold to.

Bytes are framed as in HDLC (RFC 1662): a frame lies between flags 0x7E; inside, 0x7E and 0x7D become 0x7D followed by
the byte with bit 5 inverted. Any flag ends whatever came before it, so that the next good frame always works. A frame
is a tag, a command, its body and a CRC-32 (ISO-HDLC, as in zlib), little endian. A frame with a wrong checksum, of
fewer than 6 or more than `MAX_FRAME` bytes, or ended in an escape, is dropped and counted; any other is answered by a
frame of its tag, its command, a status and a body.

=============  ==========================================  ===========================================================
Command        Body                                        Answer's body
=============  ==========================================  ===========================================================
``IDENTIFY``   none                                        ``MAGIC``, version (1), configuration hash (16)
``WRITE``      address (4), words (4 each, 1 to 61)        none
``READ``       address (4), number of words (1), 1 to 61   the words
``RUN``        program address (4)                         none; the run goes on by itself
``STATUS``     none                                        busy (1), frames dropped (4), cycles (4), array steps (4)
``RESET``      none                                        none; a run is given up, memories stay
=============  ==========================================  ===========================================================

Numbers are little endian, sizes in bytes. An address names a memory in its bits 24-31 (`Region`) and a 32-bit word in
the bits below. `WRITE`, `READ` and `RUN` are refused with ``BUSY`` during a run.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "ADDRESS_BITS",
    "ESCAPE",
    "ESCAPE_FLIP",
    "FLAG",
    "MAGIC",
    "MAX_FRAME",
    "MAX_WORDS",
    "VERSION",
    "Command",
    "Frame",
    "FrameReader",
    "Region",
    "Status",
    "encode_frame",
    "host_lanes",
]

FLAG = 0x7E
ESCAPE = 0x7D
ESCAPE_FLIP = 0x20
MAX_FRAME = 256
MAX_WORDS = 61
#: Bits of a word's number within its memory.
ADDRESS_BITS = 24
MAGIC = b"EVST"
VERSION = 1


def host_lanes(width: int) -> int:
    """Host words that a memory word of `width` bits takes up: its 32-bit lanes, padded to a power of two."""
    return 1 << (-(-width // 32) - 1).bit_length()


class Command(IntEnum):
    """Second byte of a frame."""

    IDENTIFY = 1
    WRITE = 2
    READ = 3
    RUN = 4
    STATUS = 5
    RESET = 6


class Status(IntEnum):
    """Third byte of an answer."""

    OK = 0
    UNKNOWN_COMMAND = 1
    BAD_LENGTH = 2
    BAD_ADDRESS = 3
    BUSY = 4


class Region(IntEnum):
    """Memory that an address names."""

    PROGRAM = 0
    WEIGHTS = 1
    THRESHOLDS = 2
    ACTIVATIONS = 3
    RESULTS = 4
    CONSTANTS = 5
    WIDE = 6
    KNEES = 7


@dataclass(frozen=True)
class Frame:
    """A frame without its checksum."""

    tag: int
    command: int
    body: bytes = b""


def encode_frame(frame: Frame) -> bytes:
    """Bytes of a frame on the wire, a flag before and after; too long a body raises `ValueError`."""
    content = bytes([frame.tag, frame.command]) + frame.body
    content += struct.pack("<I", zlib.crc32(content))
    if len(content) > MAX_FRAME:
        raise ValueError(f"Frame must be at most {MAX_FRAME} bytes long, not {len(content)}")
    stuffed = bytearray([FLAG])
    for byte in content:
        stuffed += bytes([ESCAPE, byte ^ ESCAPE_FLIP]) if byte in (FLAG, ESCAPE) else bytes([byte])
    return bytes(stuffed + bytes([FLAG]))


class FrameReader:
    """Finds the good frames in a stream of bytes; keeps what is unfinished for the next call."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._escaped = False
        self.dropped = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that `data` completes. Damaged ones are counted in `dropped`."""
        frames = []
        for byte in data:
            if byte == FLAG:
                content = bytes(self._content)
                if content or self._escaped:
                    good = len(content) >= 6 and not self._escaped and len(content) <= MAX_FRAME
                    good = good and zlib.crc32(content[:-4]) == struct.unpack("<I", content[-4:])[0]
                    if good:
                        frames.append(Frame(content[0], content[1], content[2:-4]))
                    else:
                        self.dropped += 1
                self._content.clear()
                self._escaped = False
            elif byte == ESCAPE:
                self._escaped = True
            elif len(self._content) <= MAX_FRAME:
                self._content.append(byte ^ ESCAPE_FLIP if self._escaped else byte)
                self._escaped = False
        return frames
