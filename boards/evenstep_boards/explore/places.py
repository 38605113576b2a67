"""Places: the devices that engines are explored for, as the tools know them."""

from dataclasses import dataclass

from evenstep.estimate.devices import DEVICES, Device

__all__ = ["PLACES", "Place"]


@dataclass(frozen=True)
class Place:
    """A device, and what synthesis, and place and route, call its family and it; empty where they are for others."""

    device: Device
    family: str = ""
    target: str = ""


_TOOLS = {
    "ice40hx8k": ("ice40", "hx8k"),
    "ice40up5k": ("ice40", "up5k"),
    "ecp5-25f": ("ecp5", "lfe5u-25f"),
    "ecp5-45f": ("ecp5", "lfe5u-45f"),
    "ecp5-85f": ("ecp5", "lfe5u-85f"),
}

#: By the names of `evenstep.estimate.devices.DEVICES`.
PLACES = {name: Place(device, *_TOOLS.get(name, ())) for name, device in DEVICES.items()}
