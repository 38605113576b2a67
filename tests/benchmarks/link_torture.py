"""Torture of the link: a million bytes of noise, every fault of a line, and every byte of a session as the last one.

Run as ``python tests/benchmarks/link_torture.py``; it takes about ten minutes on one processor, and needs a C++
compiler. Each session with the simulated engine may end with the right integers, or with an error of one line. The exit
status is 1 if any ends otherwise. `evenstep_sim.virtual.torture` says what a session is.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from evenstep.generate import generate_block
from evenstep_sim.virtual import build_engine
from evenstep_sim.virtual.torture import GEOMETRY, MIXES, Tally, Torture


def main() -> int:
    """Torture, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--noise", type=int, default=1_000_000, help="random bytes")
    parser.add_argument("--sessions", type=int, default=1000, help="sessions for each mix of faults")
    parser.add_argument("--every", type=int, default=1, help="bytes from one strike of a session to the next")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manifest = generate_block("engine", GEOMETRY, Path(folder))
        torture = Torture(build_engine(Path(folder) / f"{manifest.module}.json"), seed=arguments.seed)
    print(f"{'':26}{'sessions':>9}{'right':>8}{'error':>8}{'wrong':>7}{'faults':>9}{'bytes':>12}{'longest':>9}")
    tasks = {f"noise, {arguments.noise:,} bytes": lambda: torture.noise(arguments.noise)}
    tasks |= {name: lambda name=name: torture.mix(name, arguments.sessions) for name in MIXES}
    tasks |= {
        f"{event} at every byte" if arguments.every == 1 else f"{event} at every {arguments.every}th": (
            lambda event=event: torture.strikes(event, every=arguments.every)
        )
        for event in ("cut", "reset", "power")
    }
    begun = time.monotonic()
    reasons: Counter[str] = Counter()
    total = wrong = 0
    for name, task in tasks.items():
        tally: Tally = task()
        figures = f"{tally.sessions:9,}{tally.right:8,}{tally.reported:8,}{len(tally.wrong):7,}"
        print(f"{name:26}{figures}{sum(tally.faults.values()):9,}{tally.bytes:12,}{tally.longest:7.2f} s", flush=True)
        for what in tally.wrong[:3]:
            print(f"    {what}")
        reasons += tally.reasons
        total += tally.sessions
        wrong += len(tally.wrong)
    print(f"\n{total:,} sessions in {time.monotonic() - begun:.0f} s, {wrong} wrong. Errors:")
    for reason, count in reasons.most_common():
        print(f"{count:8,}  {reason}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
