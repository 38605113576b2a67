"""Bench of the weight loader: words, bursts and cycles, from a memory of exact latency and from cocotbext-axi's."""

import cocotb
from cocotb.triggers import Timer

from evenstep.compiler.loads import load_cycles
from evenstep.gateware.loader import BURST_BEATS
from evenstep.spec.port import PAGE_BYTES
from evenstep_sim.bench import MATRIX
from evenstep_sim.loader import ExternalMemory, LoaderBench

# Cycles from `start` to the first address, and from what ends a load to `busy` low.
_ASK = 2
_END = 2

_test = cocotb.test(timeout_time=1, timeout_unit="ms")


@_test
async def values(dut) -> None:
    """Loads of every size under every idle x back-pressure pattern of a memory that nobody here wrote."""
    bench = await LoaderBench.start(dut)
    for idle, pressure in MATRIX:
        bench.use_ram(idle, pressure)
        for count in (1, 2, int(bench.rng.integers(3, bench.depth))):
            await bench.load(count)
    bench.use_ram("always", "always")
    await bench.load(bench.depth)
    assert not bench.error


@_test
async def cycles(dut) -> None:
    """The cycles of `load_cycles`, a beat in each of them, addresses ahead of the data."""
    bench = await LoaderBench.start(dut)
    for latency in (1, 2, 7, 100):
        bench.memory = ExternalMemory(latency)
        for count in {0, 1, 2, bench.depth // 2 + 1, bench.depth}:
            started = bench.cycle
            took = await bench.load(count)
            expected = load_cycles(count, word_bits=bench.word_bits, data_bits=bench.data_bits, latency=latency)
            assert took == expected, f"{count} words must take {expected} cycles, not {took}"
            asked = [request.cycle - started for request in bench.requests]
            assert asked == list(range(_ASK, _ASK + len(asked))), f"Addresses must follow closely, not in {asked}"
            first = started + _ASK + latency
            assert bench.beats == list(range(first, first + count * bench.word_beats)), "A beat in every cycle"


@_test
async def boundaries(dut) -> None:
    """Loads that begin and end at, before and behind the ends of bursts and pages, and of external memory."""
    bench = await LoaderBench.start(dut)
    bench.memory = ExternalMemory(3)
    page = PAGE_BYTES // bench.beat_bytes
    most = bench.depth * bench.word_beats
    for edge in {min(BURST_BEATS, page), page, 2**bench.address_bits // bench.beat_bytes}:
        for before in (0, 1, 2, bench.word_beats, most // 2, most):
            words = {1, before // bench.word_beats, bench.depth} - {0}
            for count in words:
                end = edge - before + count * bench.word_beats
                if before <= edge and end * bench.beat_bytes <= 2**bench.address_bits:
                    await bench.load(count, beat=edge - before)


@_test
async def targets(dut) -> None:
    """The first and the last words of the weight memory; and a start beside a running load, which does nothing."""
    bench = await LoaderBench.start(dut)
    for target in (0, bench.depth - 1):
        await bench.load(1, target=target)
    await bench.start_load(bench.random_words(bench.depth), beat=5, target=0)
    bench.set(start=1)
    await bench.tick(bench.depth)
    bench.set(start=0)
    await bench.finish()
    await bench.tick(bench.depth)
    bench.check_requests(5, bench.depth * bench.word_beats)


@_test
async def errors(dut) -> None:
    """Any response but OKAY, to any beat, shows until the next start; loading goes on, with the data that came."""
    bench = await LoaderBench.start(dut)
    for response in (1, 2, 3):
        beats = bench.depth * bench.word_beats
        for beat in {0, beats // 2, beats - 1}:
            bench.memory = ExternalMemory(4, responses={beat: response})
            await bench.start_load(bench.random_words(bench.depth), beat=0, target=0)
            while not bench.beats or bench.beats[-1] < bench.beats[0] + beat:
                assert not bench.error, "Error must be low before the beat's response"
                await bench.tick()
            await bench.tick()
            assert bench.error, f"Response {response} to beat {beat} must show in the cycle after it"
            await bench.finish()
            await bench.tick(20)
            assert bench.error, "Error must stay after the load"
            bench.memory = ExternalMemory(4)
            await bench.start_load(bench.random_words(1), beat=0, target=0)
            await bench.tick()
            assert not bench.error, "The next start must clear the error"
            await bench.finish()


async def _give_up(bench: LoaderBench, wait: int) -> None:
    """Give up a load after `wait` cycles: bursts go on to their end, and nothing more is written."""
    await bench.start_load(bench.random_words(bench.depth), beat=bench.random_beat(bench.depth), target=0)
    await bench.tick(wait)
    complete = len(bench.beats) // bench.word_beats
    given_up = bench.cycle
    bench.set(reset=1)
    await bench.tick()
    bench.set(reset=0)
    left = bench.depth - bench.scoreboard.pending
    assert left == complete, f"{complete} words were complete and must be written, not {left}"
    bench.scoreboard.forget()
    whole = sum(cycle < given_up for cycle in bench.beats) == bench.depth * bench.word_beats
    # At most the address that waited already is still asked for; and a start does nothing.
    offered = len(bench.requests) + (bench.waiting is not None)
    bench.set(start=1, words=1)
    while bench.waiting is not None or len(bench.beats) < sum(request.beats for request in bench.requests):
        await bench.tick()
        assert bench.busy, "Busy must be high until the last burst has ended"
    bench.set(start=0)
    ended = await bench.finish()
    assert len(bench.requests) <= offered, f"Bursts must be at most {offered}, not {len(bench.requests)}"
    expected = (bench.beats[-1] if whole else max([given_up, *bench.beats[-1:]])) + _END
    assert ended == expected, f"Busy must fall in cycle {expected}, not {ended}"


@_test
async def given_up(dut) -> None:
    """A load given up at any time, under patterns; the next one is as if nothing had been."""
    bench = await LoaderBench.start(dut)
    beats = bench.depth * bench.word_beats
    for latency, waits in (
        (1, (0, 1, 2, 3, beats + 1, beats + 2)),
        (60, bench.rng.integers(4, beats + 60, 5).tolist()),
    ):
        for wait in waits:
            bench.memory = ExternalMemory(latency)
            await _give_up(bench, wait)
            await bench.load(3)
    for idle, pressure in (("random", "rarely"), ("bursts", "bursts"), ("rarely", "always")):
        bench.use_ram(idle, pressure)
        await _give_up(bench, int(bench.rng.integers(beats)))
        await bench.load(3)


@_test
async def given_up_errors(dut) -> None:
    """Responses to what nobody wants any more are no error; one before stays. Idle, `reset` does nothing."""
    bench = await LoaderBench.start(dut)
    for before in (False, True):
        bench.memory = ExternalMemory(5, responses={1: 2} if before else dict.fromkeys(range(8, 20), 2))
        await bench.start_load(bench.random_words(bench.depth), beat=0, target=0)
        while len(bench.beats) < 4:
            await bench.tick()
        bench.set(reset=1)
        await bench.tick()
        bench.set(reset=0)
        bench.scoreboard.forget()
        await bench.finish()
        assert bench.error == int(before), f"Error must be {int(before)} after the load"
    bench.memory = ExternalMemory(2)
    bench.set(reset=1, start=1, words=1)
    await bench.tick(3)
    assert not bench.busy, "A start with reset must be ignored"
    bench.set(reset=0, start=0)
    await bench.load(2)


@_test
async def no_paths(dut) -> None:
    """No output changes within a cycle, whatever the inputs do."""
    bench = await LoaderBench.start(dut)
    conventions = bench.manifest.conventions
    ports = [port for port in bench.manifest.ports if port.name not in (conventions.clock, conventions.reset)]
    inputs = [getattr(dut, port.name) for port in ports if port.direction == "input"]
    outputs = [getattr(dut, port.name) for port in ports if port.direction == "output"]
    bench.memory = ExternalMemory(9)
    for _ in range(2):
        await bench.start_load(bench.random_words(bench.depth), beat=1, target=0)
        while bench.busy or bench.scoreboard.pending:
            before = [port.value for port in inputs]
            seen = [str(port.value) for port in outputs]
            for port in inputs:
                port.value = int(bench.rng.integers(2 ** min(len(port), 31)))
            await Timer(1, "ns")
            found = [str(port.value) for port in outputs]
            for port, value in zip(inputs, before, strict=True):
                port.value = value
            changed = [port._name for port, one, other in zip(outputs, seen, found, strict=True) if one != other]
            assert not changed, f"Outputs must depend on no input of the same cycle, but {', '.join(changed)} do"
            await bench.tick()


@_test
async def reset(dut) -> None:
    """A reset of the module in the middle of a load, and beats of it that come nevertheless, which mean nothing."""
    bench = await LoaderBench.start(dut)
    for wait in (1, 2, 9):
        bench.memory = ExternalMemory(3)
        await bench.start_load(bench.random_words(bench.depth), beat=0, target=0)
        await bench.tick(wait)
        bench.memory, bench.waiting = None, None
        bench.set(m_axi_rvalid=0)
        await bench.reset()
        bench.scoreboard.forget()
        bench.set(m_axi_rvalid=1, m_axi_rlast=1, m_axi_rresp=2)
        await bench.tick(2 * bench.word_beats + 1)
        assert not (bench.busy or bench.error or bench.waiting), "Nothing must happen after a reset"
        bench.memory = ExternalMemory(3)
        await bench.load(2)
