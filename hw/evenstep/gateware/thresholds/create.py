"""Threshold units by style."""

from collections.abc import Sequence
from typing import Any

from evenstep.checks import check_choice
from evenstep.gateware.thresholds.bank import ThresholdBank
from evenstep.gateware.thresholds.requantize import RequantizeUnit
from evenstep.gateware.thresholds.search import SearchThresholds
from evenstep.gateware.thresholds.serial import SerialThresholds
from evenstep.gateware.thresholds.unit import ThresholdUnit
from evenstep.spec.geometry import THRESHOLD_STYLES

__all__ = ["create_threshold_unit"]


def create_threshold_unit(
    style: str,
    *,
    width: int,
    bits: int,
    channels: int,
    rows: int = 1,
    channel_bits: int | None = None,
    init: Sequence[int] = (),
    registered: bool = False,
) -> ThresholdUnit:
    """Threshold unit of a style, one of `evenstep.spec.THRESHOLD_STYLES`; parameters as those of `ThresholdUnit`."""
    check_choice("Threshold style", style, THRESHOLD_STYLES)
    kinds: dict[str, type[ThresholdUnit]] = {
        "bank": ThresholdBank,
        "search": SearchThresholds,
        "serial": SerialThresholds,
        "requantize": RequantizeUnit,
    }
    kind = kinds[style]
    sizes: dict[str, Any] = {"width": width, "bits": bits, "channels": channels, "rows": rows}
    return kind(**sizes, channel_bits=channel_bits, init=init, registered=registered)
