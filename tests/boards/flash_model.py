"""An SPI flash, as far as a board reads it at power-up: bit by bit, in mode 0."""

_RELEASE, _READ = 0xAB, 0x03


class FlashModel:
    """A flash in deep power-down, from which only a release command wakes it.

    Parameters
    ----------
    content : bytes
        From address 0 on; beyond, it is erased.
    """

    def __init__(self, content: bytes):
        self._content = content
        self._awake = False
        self._clock = 0
        self._begin()
        #: Transfers, each as the bytes that came in: the command first.
        self.commands: list[bytearray] = []

    def _begin(self) -> None:
        self._bits = 0  # taken in
        self._shifted = 0
        self._selected = False

    def step(self, select: int, clock: int, copi: int) -> int | None:
        """Pins as they are now; what the flash puts on its output, or None if it leaves it as it is."""
        rising, falling = clock and not self._clock, self._clock and not clock
        self._clock = clock
        if not select:
            self._begin()
            return None
        if not self._selected:
            assert not clock, "Mode 0: the clock must be low when the flash is selected"
            self._selected = True
            self.commands.append(bytearray())
        if rising:
            self._shifted = (self._shifted << 1 | copi) & 0xFFFFFFFF
            self._bits += 1
            if self._bits % 8 == 0:
                self.commands[-1].append(self._shifted & 0xFF)
        command = self.commands[-1]
        if bytes(command[:1]) == bytes([_RELEASE]):
            self._awake = True
        if falling and self._awake and self._bits >= 32 and command[0] == _READ:
            place, bit = divmod(self._bits - 32, 8)
            address = int.from_bytes(command[1:4], "big") + place
            byte = self._content[address] if address < len(self._content) else 0xFF
            return byte >> 7 - bit & 1
        return None
