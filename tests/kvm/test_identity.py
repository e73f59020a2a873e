"""What CPUID says on KVM, in its table and in the guest."""

from __future__ import annotations

import pytest

from pyhv import VirtualMachine
from pyhv.engines.kvm.identity import as_seen, told
from pyhv.engines.select import ENGINES

TSC_DEADLINE = 1 << 24
FSGSBASE, AVX2 = 1 << 0, 1 << 5


@pytest.mark.parametrize("engine", ["soft", "kvm"])
def test_the_tsc_runs_as_leaf_15h_says(engine: str) -> None:
    if not ENGINES[engine].status().works:
        pytest.skip(f"the {engine} engine does not work here")
    with VirtualMachine(engine) as vm, vm.vcpu() as cpu:
        (denominator, numerator, crystal, _) = next(row[2:] for row in cpu.cpuid if row[0] == 0x15)
        assert crystal * numerator / denominator == pytest.approx(vm.clock.tsc_hz, rel=1e-6)
        assert crystal // 1000 * numerator < 1 << 32, "Linux multiplies in 32 bits"


def test_the_deadline_mode_is_not_announced_with_a_local_apic() -> None:
    row = (1, 0, 0, 0, TSC_DEADLINE | 1, 0)
    assert told([row], 1000, apic=True) == [(1, 0, 0, 0, 1, 0)]
    assert told([row], 1000, apic=False) == [row]


def test_the_twin_has_what_a_guest_sees_as_far_as_it_can() -> None:
    assert as_seen([(7, 0, 0, 0, 0, 0)], {(7, 0): (0, FSGSBASE | AVX2, 0, 0)}) == [(7, 0, 0, FSGSBASE, 0, 0)]
    assert as_seen([(7, 0, 0, 0, 0, 0)], {}) == [(7, 0, 0, 0, 0, 0)]


def test_what_a_guest_turned_on_does_not_stop_it(kvm: str) -> None:
    """A KVM that is emulated may announce more than the table: the guest's CR4 is entered again all the same."""
    with VirtualMachine(kvm) as vm, vm.vcpu() as cpu:
        ram = vm.map(at=0, size=0x2000)
        # mov eax, 7; xor ecx, ecx; cpuid; and ebx, 1; shl ebx, 16; mov eax, cr4; or eax, ebx; mov cr4, eax; hlt; hlt
        code = bytes.fromhex("b807000000 31c9 0fa2 83e301 c1e310 0f20e0 09d8 0f22e0 f4 f4")
        ram[0x1000 : 0x1000 + len(code)] = code
        cpu.enter_protected()
        cpu.regs.rip = 0x1000
        assert type(cpu.run()).__name__ == "Halted"
        cpu.segments.fs.base = 4  # so that all of the state goes back
        assert type(cpu.run()).__name__ == "Halted"
