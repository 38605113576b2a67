"""Clock and reset of the domain ``sync``, which a top defines: an oscillator's clock through a PLL, and a reset until
both are stable."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from amaranth.hdl import ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, Signal, Value
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

__all__ = ["BoardClock", "Ecp5Clock", "GateMateClock", "GowinClock", "Ice40Clock"]

_Settings = TypeVar("_Settings", bound=tuple[int, ...])

# iCE40: block RAMs read as 0 for some microseconds after configuration; Amaranth's platform waits as long.
_ICE40_DELAY = 15e-6

# Hz between the frequencies that are tried to name one that a PLL makes, and the highest of these.
_STEP, _HIGHEST = 62_500, 400_000_000


def _refusing(find: Callable[[int, int], _Settings | None]) -> Callable[[int, int], _Settings]:
    """Raise `ValueError` where no settings make the wanted frequency of the source's."""

    @functools.wraps(find)
    def settings(source: int, wanted: int) -> _Settings:
        found = find(source, wanted)
        if found is None:
            made = (frequency for frequency in range(_STEP, _HIGHEST, _STEP) if find(source, frequency))
            nearest = min(made, key=lambda frequency: abs(frequency - wanted))
            raise ValueError(
                f"Clock must be one that the PLL makes of {source} Hz, such as {nearest} Hz, not {wanted} Hz"
            )
        return found

    return settings


class BoardClock(Elaboratable):
    """Clock of a frequency that a PLL makes from the platform's default clock.

    Parameters
    ----------
    frequency : int
        Hz; must be what the PLL makes exactly.
    """

    def __init__(self, frequency: int):
        self.frequency = frequency

    @classmethod
    def check(cls, source: int, frequency: int) -> None:
        """Raise `ValueError` for a frequency that the PLL does not make of the source's, if that is known here."""

    def elaborate(self, platform: Any) -> Module:
        raise NotImplementedError


class Ice40Clock(BoardClock):
    """Clock from the PLL of an iCE40, at the pin of the platform's default clock."""

    @classmethod
    def check(cls, source: int, frequency: int) -> None:
        ice40_pll(source, frequency)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        multiplier, exponent = ice40_pll(int(platform.default_clk_frequency), self.frequency)
        pin = platform.request(platform.default_clk, dir="-")
        clock, locked = Signal(), Signal()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=0,
            p_DIVF=multiplier - 1,
            p_DIVQ=exponent,
            p_FILTER_RANGE=1,
            i_PACKAGEPIN=pin.io,
            i_RESETB=1,
            i_BYPASS=0,
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
        )
        delay = int(_ICE40_DELAY * self.frequency)
        timer = Signal(range(delay + 1))
        stable = Signal()
        powerup: Any = ClockDomain(async_reset=True, local=True)
        m.domains.powerup = powerup
        m.d.comb += [powerup.clk.eq(clock), powerup.rst.eq(~locked), ClockSignal().eq(clock)]
        with m.If(timer == delay):
            m.d.powerup += stable.eq(1)
        with m.Else():
            m.d.powerup += timer.eq(timer + 1)
        m.submodules.reset = ResetSynchronizer(~stable, domain="sync")
        return m


@_refusing
def ice40_pll(source: int, wanted: int) -> tuple[int, int] | None:
    """Multiplier and exponent of the divisor that make `wanted` Hz from `source`, 10 to 16 MHz.

    The oscillator in between must run at 533 to 1066 MHz, the multiplier be at most 128, the exponent 1 to 6.
    """
    for exponent in range(1, 7):
        multiplier, rest = divmod(wanted << exponent, source)
        if not rest and multiplier <= 128 and 533_000_000 <= source * multiplier <= 1_066_000_000:
            return multiplier, exponent
    return None


class _PLLClock(BoardClock):
    """Clock from a PLL behind the input buffer of the platform's default clock."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.pin = pin = io.Buffer(io.Direction.Input, platform.request(platform.default_clk, dir="-"))
        clock, locked = Signal(), Signal()
        self.add_pll(m, platform, pin.i, clock, locked)
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")
        return m

    def add_pll(self, m: Module, platform: Any, pin: Value, clock: Signal, locked: Signal) -> None:
        """Add the PLL between `pin` and `clock`."""
        raise NotImplementedError


class Ecp5Clock(_PLLClock):
    """Clock from a PLL of an ECP5; see `_PLLClock`."""

    @classmethod
    def check(cls, source: int, frequency: int) -> None:
        ecp5_pll(source, frequency)

    def add_pll(self, m: Module, platform: Any, pin: Value, clock: Signal, locked: Signal) -> None:
        divisor, multiplier, output = ecp5_pll(int(platform.default_clk_frequency), self.frequency)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=str(platform.default_clk_frequency / 1e6),
            a_FREQUENCY_PIN_CLKOP=str(self.frequency / 1e6),
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=output,
            p_CLKOP_CPHASE=output // 2,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=divisor,
            p_CLKFB_DIV=multiplier,
            i_CLKI=pin,
            i_CLKFB=clock,
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=0,
            i_PHASESTEP=0,
            i_PHASELOADREG=0,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=clock,
            o_LOCK=locked,
        )


@_refusing
def ecp5_pll(source: int, wanted: int) -> tuple[int, int, int] | None:
    """Divisor of the source, multiplier and divisor of the output that make `wanted` Hz from `source`.

    The phase comparator must run at 10 MHz or more, the oscillator in between at 400 to 800 MHz: near its middle.
    """
    for divisor in range(1, source // 10_000_000 + 1):
        multiplier, rest = divmod(wanted * divisor, source)
        output = round(600_000_000 / wanted)
        if not rest and 1 <= multiplier <= 80 and 1 <= output <= 128 and 4e8 <= wanted * output <= 8e8:
            return divisor, multiplier, output
    return None


class GowinClock(_PLLClock):
    """Clock from an rPLL of a Gowin GW1N; see `_PLLClock`."""

    @classmethod
    def check(cls, source: int, frequency: int) -> None:
        gowin_pll(source, frequency)

    def add_pll(self, m: Module, platform: Any, pin: Value, clock: Signal, locked: Signal) -> None:
        source = int(platform.default_clk_frequency)
        divisor, multiplier, output = gowin_pll(source, self.frequency)
        m.submodules.pll = Instance(
            "rPLL",
            p_DEVICE=platform.family,
            p_FCLKIN=f"{source / 1e6:g}",
            p_IDIV_SEL=divisor - 1,
            p_FBDIV_SEL=multiplier - 1,
            p_ODIV_SEL=output,
            p_DYN_IDIV_SEL="false",
            p_DYN_FBDIV_SEL="false",
            p_DYN_ODIV_SEL="false",
            p_DYN_DA_EN="false",
            p_DYN_SDIV_SEL=2,
            p_PSDA_SEL="0000",
            p_DUTYDA_SEL="1000",
            p_CLKFB_SEL="internal",
            p_CLKOUT_BYPASS="false",
            p_CLKOUTP_BYPASS="false",
            p_CLKOUTD_BYPASS="false",
            i_CLKIN=pin,
            i_CLKFB=Const(0),
            i_RESET=Const(0),
            i_RESET_P=Const(0),
            i_FBDSEL=Const(0, 6),
            i_IDSEL=Const(0, 6),
            i_ODSEL=Const(0, 6),
            i_PSDA=Const(0, 4),
            i_DUTYDA=Const(0, 4),
            i_FDLY=Const(0, 4),
            o_CLKOUT=clock,
            o_LOCK=locked,
        )


@_refusing
def gowin_pll(source: int, wanted: int) -> tuple[int, int, int] | None:
    """Divisor of the source, multiplier and divisor of the oscillator that make `wanted` Hz from `source`.

    The phase comparator must run at 3 MHz or more, the oscillator in between at 400 to 1200 MHz; its divisor is one of
    a few even numbers.
    """
    for divisor in range(1, min(64, source // 3_000_000) + 1):
        multiplier, rest = divmod(wanted * divisor, source)
        for output in (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128):
            if not rest and 1 <= multiplier <= 64 and 400_000_000 <= wanted * output <= 1_200_000_000:
                return divisor, multiplier, output
    return None


class GateMateClock(_PLLClock):
    """Clock from a PLL of a GateMate, whose settings nextpnr finds, or says that there are none; see `_PLLClock`."""

    def add_pll(self, m: Module, platform: Any, pin: Value, clock: Signal, locked: Signal) -> None:
        made = Signal()
        m.submodules.pll = Instance(
            "CC_PLL",
            p_REF_CLK=str(platform.default_clk_frequency / 1e6),
            p_OUT_CLK=str(self.frequency / 1e6),
            p_PERF_MD="ECONOMY",
            p_LOW_JITTER=1,
            p_LOCK_REQ=1,
            p_CI_FILTER_CONST=2,
            p_CP_FILTER_CONST=4,
            i_CLK_REF=pin,
            i_USR_CLK_REF=Const(0),
            i_CLK_FEEDBACK=Const(0),
            i_USR_LOCKED_STDY_RST=Const(0),
            o_CLK0=made,
            o_USR_PLL_LOCKED=locked,
        )
        m.submodules.tree = Instance("CC_BUFG", i_I=made, o_O=clock)
