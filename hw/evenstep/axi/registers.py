"""Register map of the engine behind AXI4-Lite: what gateware, manifest, host code and documentation share."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

__all__ = [
    "ADDRESS_WIDTH",
    "POINTER_REGION_SHIFT",
    "REGISTERS",
    "VERSION",
    "Address",
    "Control",
    "Field",
    "Register",
    "Status",
]

#: Bits of byte addresses: 4 KB, the smallest range that an interconnect decodes.
ADDRESS_WIDTH = 12
#: What `Address.VERSION` reads; it changes with the meaning of a register.
VERSION = 1
#: Bit of `Address.POINTER` from which on the memory is named, by a `Region`; below is the word.
POINTER_REGION_SHIFT = 24


class Address(IntEnum):
    """Byte addresses of the registers."""

    IDENTITY0 = 0x00
    IDENTITY1 = 0x04
    IDENTITY2 = 0x08
    IDENTITY3 = 0x0C
    VERSION = 0x10
    CONTROL = 0x14
    STATUS = 0x18
    CYCLES = 0x1C
    STEPS = 0x20
    ENTRY = 0x24
    POINTER = 0x28
    DATA = 0x2C
    RECEIVE = 0x30
    SEND = 0x34


class Control(IntFlag):
    """Bits of `Address.CONTROL`."""

    START = 1
    RESET = 2


class Status(IntFlag):
    """Bits of `Address.STATUS`."""

    BUSY = 1
    RECEIVING = 2
    SENDING = 4


@dataclass(frozen=True)
class Field:
    """Bits of a register, from `low` on, `width` of them."""

    name: str
    low: int
    width: int


@dataclass(frozen=True)
class Register:
    """A 32-bit register.

    Parameters
    ----------
    name : str
        That of its `Address`.
    address : int
        Byte address.
    access : str
        ``"read"`` or ``"read, write"``. Writing what is only read is answered by SLVERR.
    text : str
        What it is and does, in a line.
    fields : tuple of Field
        Its bits, where they are not one number.
    """

    name: str
    address: int
    access: str
    text: str
    fields: tuple[Field, ...] = ()


def _register(address: Address, access: str, text: str, *fields: Field) -> Register:
    return Register(address.name, int(address), access, text, fields)


def _flags(kind: type[Control] | type[Status]) -> tuple[Field, ...]:
    return tuple(Field(str(bit.name), bit.bit_length() - 1, 1) for bit in kind)


#: All registers, by address. Whatever else is read or written is answered by SLVERR.
REGISTERS = (
    *(
        _register(address, "read", f"configuration hash, bytes {4 * n} to {4 * n + 3}, the first in bits 0 to 7")
        for n, address in enumerate((Address.IDENTITY0, Address.IDENTITY1, Address.IDENTITY2, Address.IDENTITY3))
    ),
    _register(Address.VERSION, "read", f"{VERSION}: version of this map"),
    _register(
        Address.CONTROL,
        "read, write",
        "START runs the program at ENTRY, while idle; RESET gives up run and transfers, memories stay; reads 0",
        *_flags(Control),
    ),
    _register(
        Address.STATUS,
        "read",
        "0: idle; else what goes on: a run, a transfer from s_axis, a transfer to m_axis",
        *_flags(Status),
    ),
    _register(Address.CYCLES, "read", "cycles of the last run, or the current one"),
    _register(Address.STEPS, "read", "steps that the array took in it"),
    _register(Address.ENTRY, "read, write", "word of the program memory where START begins; 0 after reset"),
    _register(
        Address.POINTER,
        "read, write",
        "next word to access; counts up with each; written while idle",
        Field("WORD", 0, POINTER_REGION_SHIFT),
        Field("REGION", POINTER_REGION_SHIFT, 8),
    ),
    _register(Address.DATA, "read, write", "the word at POINTER, while idle"),
    _register(
        Address.RECEIVE,
        "read, write",
        "words still to come from s_axis to POINTER; writing, while idle, begins; tlast ends early",
    ),
    _register(
        Address.SEND, "read, write", "words still to be read from POINTER for m_axis; writing, while idle, begins"
    ),
)
