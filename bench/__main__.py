"""`make bench`: every promise of bench/README.md, measured in one run.

.venv/bin/python -m bench [--quick] [--json] [--engine soft|kvm] [--check]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pyhv
from pyhv.engines.select import ENGINES

from . import calls, guest, kvm, micro, raw
from .figures import Figure, at_least, at_most

LEAK_LIMIT = 1 << 20  # bytes the process may grow over all rounds: noise of allocators, not a leak


FASTER_THAN_UNICORN = {"sieve", "fib", "matmul", "mandelbrot", "copy", "vector_copy"}
COPIES = {"copy", "vector_copy"}
MOST_TIMES_NATIVE = {"copy": 3.0, "chase": 2.0}  # the chase waits for memory, on the host too


def measure_loops(engine: str, quick: bool) -> Iterator[Figure]:
    """Instructions a second in the guest, and how many times slower than the same bytes on the host."""
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for loop, result in guest.run_loops(guest.compile_loops(Path(folder)), engine, quick):
            yield Figure(f"{loop.name}.native_time", result.native_s * 1000, "ms")
            if result.guest_s is None or result.instructions is None:
                continue
            rates.append(result.instructions / result.guest_s / 1e6)
            yield from figures_of(loop.name, result, rates[-1])
    yield at_least("loops.geometric_mean", math.exp(statistics.fmean(map(math.log, rates))), "M instructions/s", 150)


def figures_of(name: str, result: guest.LoopResult, rate: float) -> Iterator[Figure]:
    """Of one workload that ran in the guest."""
    guest_s = result.guest_s or 0.0
    yield at_least(f"{name}.guest", rate, "M instructions/s", None if name in {*COPIES, "chase"} else 100)
    yield at_least(f"{name}.native", rate * guest_s / result.native_s, "M instructions/s")
    slowdown = guest_s / result.native_s
    most = MOST_TIMES_NATIVE.get(name)
    yield at_most(f"{name}.slowdown", slowdown, "x", most) if most else Figure(f"{name}.slowdown", slowdown, "x")
    if result.unicorn_s is not None:
        target = 1.0 if name in FASTER_THAN_UNICORN else None
        yield at_least(f"{name}.unicorn", result.unicorn_s / guest_s, "x of our time", target)


def measure_exits(engine: str, quick: bool) -> Iterator[Figure]:
    """Exits a second from Python."""
    count = 20_000 if quick else 300_000
    targets = {"port_out": 1_500_000.0}
    for name in micro.EXITS:
        yield at_least(name, micro.exit_rate(engine, name, count), "exits/s", targets.get(name))


def measure_lives(engine: str, quick: bool) -> Iterator[Figure]:
    """Create, map 64 MiB, first exit, destroy."""
    rounds = 500 if quick else 10_000
    seconds, grown = micro.lives(engine, rounds)
    yield at_most("life", seconds * 1e6, "us", 1000)
    yield at_most(f"growth_of_{rounds}_lives", grown / 1024, "KiB", LEAK_LIMIT / 1024)


def measure_access(engine: str, quick: bool) -> Iterator[Figure]:
    """Register and memory accesses from Python."""
    count = 20_000 if quick else 300_000
    for name, rate in micro.access_rates(engine, count):
        yield at_least(name, rate, "accesses/s")
    yield at_least("mapping_copy", micro.mapping_bytes_per_second(engine) / 1e9, "GB/s")


PARTS: dict[str, tuple[Callable[[str, bool], Iterator[Figure]], ...]] = {
    "soft": (measure_exits, measure_lives, measure_access, calls.measure, measure_loops),
    "kvm": (kvm.measure_exits, kvm.measure_lives, kvm.measure_loops, raw.measure_raw),
}


def processor() -> str:
    """The host processor's own name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine(engines: list[str]) -> dict[str, object]:
    """What the figures hold for."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "pyhv": pyhv.__version__,
        "engines": engines,
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a measurement")
    parser.add_argument("--check", action="store_true", help="exit 1 when a promise is not kept")
    parser.add_argument("--engine", choices=sorted(PARTS), help="measure this engine only (default: each that works)")
    return parser.parse_args()


def chosen(name: str | None) -> tuple[list[str], dict[str, str]]:
    """The engines to measure, and those that do not work here with the reason; a named one has to work."""
    status = {each: ENGINES[each].status() for each in ([name] if name else PARTS)}
    left_out = {each: found.reason for each, found in status.items() if not found.works}
    if name in left_out:
        raise SystemExit(f"bench: the engine {name} does not work here: {left_out[name]}")
    return [each for each in status if each not in left_out], left_out


def show(figure: Figure) -> None:
    """One line for people."""
    value = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:,.2f}"
    promise = "" if figure.target is None else f"   {'kept' if figure.met else 'MISSED'} (to reach: {figure.target})"
    print(f"{figure.name:38} {value:>14} {figure.unit:17}{promise}", flush=True)


def main() -> int:
    """The command."""
    options = arguments()
    names, left_out = chosen(options.engine)
    about = machine(names) | ({"left_out": left_out} if left_out else {})
    if not options.json:
        print(", ".join(f"{key} {value}" for key, value in about.items()))
    figures = []
    for name in names:
        for measure in PARTS[name]:
            for figure in measure(name, options.quick):
                figures.append(figure)
                if not options.json:
                    show(figure)
    if options.json:
        json.dump({"machine": about, "figures": [asdict(figure) for figure in figures]}, sys.stdout, indent=2)
        print()
    missed = [figure.name for figure in figures if figure.met is False]
    return int(options.check and bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
