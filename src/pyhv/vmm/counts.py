"""Instructions executed, on engines that count them."""

from __future__ import annotations

from collections.abc import Iterable

from pyhv import Unsupported, VCpu, VirtualMachine


def executed(cpus: Iterable[VCpu]) -> int | None:
    """By all of them; None where the engine does not count."""
    try:
        return sum(cpu.instructions for cpu in cpus)
    except Unsupported:
        return None


def require_counting(vm: VirtualMachine, cpu: VCpu, what: str) -> None:
    """Raise Unsupported for a VM whose engine does not count instructions; `what` needs it."""
    if executed((cpu,)) is None:
        raise Unsupported(
            f"{what}, and the engine {vm.engine_name} does not count instructions: use --engine soft,"
            " or --timeout to end the run after a time"
        )
