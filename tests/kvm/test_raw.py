"""Apple's functions on KVM: the same exits as on the software CPU, whatever KVM itself has done already."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from pyhv.engines.kvm.abi import Cap
from pyhv.engines.select import ENGINES
from pyhv.errors import Unsupported
from pyhv.framework import intel as hv
from pyhv.testing._promise import framework_on
from pyhv.testing.guest import CODE, HOLE, RawGuest, raw_guest, thread
from pyhv.testing.strict_vmx import TABLES, long_mode

ROM = 0x1_0000 - 0x1000
FIELDS = (
    hv.VMCS_RO_EXIT_REASON,
    hv.VMCS_RO_EXIT_QUALIFIC,
    hv.VMCS_RO_VMEXIT_INSTR_LEN,
    hv.VMCS_GUEST_PHYSICAL_ADDRESS,
    hv.VMCS_RO_GUEST_LIN_ADDR,
    hv.VMCS_RO_VMEXIT_IRQ_INFO,
    hv.VMCS_RO_IDT_VECTOR_INFO,
)
REGISTERS = [getattr(hv, f"HV_X86_{name}") for name in "RIP RFLAGS RAX RCX RDX RBX RSI RDI RSP RBP R8 R15".split()]


@dataclass
class Case:
    """Code, and where its segments are."""

    code: str
    segments: dict[str, int] = field(default_factory=dict)
    registers: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code} {self.segments}"


@contextmanager
def on(engine: str, case: Case, long: bool = False) -> Iterator[RawGuest]:
    with framework_on(engine), raw_guest(case.code + "f4") as raw:
        raw.ram[0x2000:0x4000] = bytes(n * 7 & 0xFF for n in range(0x2000))
        raw.write(hv.VMCS_CTRL_EXC_BITMAP, 0)
        if long:
            long_mode(raw)
            raw.write(hv.VMCS_GUEST_CR4, 0x2620)
        values = {"RAX": 0x1122_3344, "RDX": 0x3F8, "RCX": 3, "RSI": 0x2000, "RDI": 0x3000, "RBX": 0x3000, "R8": 0x3000}
        for name, value in (values | case.registers).items():
            raw.set(getattr(hv, f"HV_X86_{name}"), value)
        for name, base in case.segments.items():
            raw.write(getattr(hv, f"VMCS_GUEST_{name}"), base >> 4)
            raw.write(getattr(hv, f"VMCS_GUEST_{name}_BASE"), base)
        yield raw


def exits(raw: RawGuest, most: int = 4) -> list[object]:
    """What a client sees that passes over every instruction that left; at last what has become of memory."""
    seen: list[object] = []
    for _ in range(most):
        reason = raw.run()
        seen.append(([raw.read(one) for one in FIELDS], [raw.reg(reg) for reg in REGISTERS]))
        if reason == hv.VMX_REASON_HLT:
            break
        raw.set(hv.HV_X86_RIP, raw.reg(hv.HV_X86_RIP) + raw.read(hv.VMCS_RO_VMEXIT_INSTR_LEN))
    raw.ram[TABLES : TABLES + 0x4000] = bytes(0x4000)  # accessed and dirty bits, which may come early
    return [*seen, bytes(raw.ram)]


def same(kvm: str, case: Case, long: bool = False) -> None:
    seen = []
    for engine in ("soft", kvm):
        with on(engine, case, long) as raw:
            seen.append(exits(raw))
    assert seen[0] == seen[1], str(case)


PORTS = "ee ef 66ef e661 ec e561 6e f36e 6c f36c 666d f3666d 2eee eeee fd6e fdf36d eeecee e6ee f3ee".split()


@pytest.mark.parametrize("code", PORTS)
def test_port_accesses(kvm: str, code: str) -> None:
    same(kvm, Case(code))
    same(kvm, Case(code, {"ES": HOLE}))


LOADS_AND_STORES = """
    a20000 8807 c60705 668907 aa f3aa ab 8a07 ac f3ac f3a4 a4 26a4 ff37 8f07 0007 8607 d007 8c07 0f9507 0fc307 f00007
    0fc107 3a07 8507 f60701 f717 ff07 8e07 c40f 0fb607 0fbe07 d1d7 1107 0fb10f 0fab0f a6 f3a6 ae f2ae 668907 2e668907
""".split()


@pytest.mark.parametrize("code", LOADS_AND_STORES)
def test_device_accesses(kvm: str, code: str) -> None:
    """All of them in one guest: the instruction, the same with its data in memory, and what comes of memory."""
    for segments in ({"DS": HOLE, "ES": HOLE}, {"ES": HOLE}, {"DS": HOLE}):
        same(kvm, Case(code, segments))


def test_an_old_shadow_of_sti_is_gone(kvm: str) -> None:
    for code in ("fb0007eeeefa", "fb1107c40ffaee"):
        same(kvm, Case(code, {"DS": HOLE}))


def test_a_repeat_behind_the_same_instruction(kvm: str) -> None:
    for code in ("aaf3aa", "a4f3a4", "6ef36e", "eef36e"):
        same(kvm, Case(code, {"ES": HOLE}, {"RAX": 0, "RDX": 0x61}))


@pytest.mark.parametrize("code", "50 6650 9c 6a05 58 c3 ff37 60".split())
def test_a_stack_that_is_a_device(kvm: str, code: str) -> None:
    same(kvm, Case(code, {"SS": HOLE}))


LONG = (
    "8803 488903 4c8903 c70305000000 f348ab 48a5 0f1103 660f7f03 488703 4d8b00 48ff03 66ef 48ef 41ff30 0f2903".split()
)


@pytest.mark.parametrize("code", LONG)
def test_64_bit_code(kvm: str, code: str) -> None:
    far = 0x10_0000
    same(kvm, Case(code, registers={"RBX": far, "RDI": far, "R8": far}), long=True)


@pytest.mark.parametrize("code", ["ee", "ec", "f36e", "8807", "8a07", "a4", "0007"])
def test_a_kvm_that_leaves_no_registers_in_kvm_run(kvm: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = ENGINES[kvm]._system  # type: ignore[attr-defined]
    has = device.has
    monkeypatch.setattr(device, "has", lambda cap: 0 if cap == Cap.SYNC_REGS else has(cap))
    same(kvm, Case(code, {"DS": HOLE}))


def user_code(raw: RawGuest) -> None:
    """CPL 3, with ports allowed."""
    raw.write(hv.VMCS_GUEST_CS, 0x0B)
    raw.write(hv.VMCS_GUEST_CS_AR, 0xA0FB)
    for name in ("SS", "DS", "ES"):
        raw.write(getattr(hv, f"VMCS_GUEST_{name}"), 0x13)
        raw.write(getattr(hv, f"VMCS_GUEST_{name}_AR"), 0xC0F3)
    raw.set(hv.HV_X86_RFLAGS, 0x3002)


@pytest.mark.parametrize("code", [*PORTS, *LONG, "8803", "8a03", "0003", "0fb103", "a4"])
def test_user_code(kvm: str, code: str) -> None:
    """KVM may be on an OUT of user code that it was behind in kernel code."""
    seen = []
    far = dict.fromkeys(("RBX", "RDI", "R8"), 0x10_0000)
    for engine in ("soft", kvm):
        with on(engine, Case(code + "eeeeee", registers=far), long=True) as raw:
            user_code(raw)
            found = exits(raw, 3)
            for _, registers in found[:-1]:  # type: ignore[misc]
                registers[1] &= ~0x3000  # a KVM that is emulated forgets IOPL
            seen.append(found)
    assert seen[0] == seen[1]


def test_random_runs_of_accesses(kvm: str) -> None:
    chance = random.Random(7)
    for _ in range(12):
        code = "".join(chance.choice([*PORTS, *LOADS_AND_STORES[:14], "90", "40", "8bd9"]) for _ in range(6))
        case = Case(code, chance.choice([{}, {"DS": HOLE}, {"ES": HOLE}, {"DS": HOLE, "ES": HOLE}]))
        seen = []
        for engine in ("soft", kvm):
            with on(engine, case) as raw:
                seen.append(exits(raw, 10))
        assert seen[0] == seen[1], str(case)


@pytest.mark.parametrize(
    "code", "8807 0007 1007 8607 0fc107 c00703 d017 fe07 aa f3aa 668907 8f07 0fb017 f01107".split()
)
def test_a_page_without_write_is_retried(kvm: str, code: str) -> None:
    """A dirty log by protection: the store exits, the page gets its rights back, and the instruction happens once."""
    after = []
    for engine in ("soft", kvm):
        with on(engine, Case(code, {"DS": ROM, "ES": ROM}, {"RBX": 0x100, "RDI": 0x100, "RAX": 0x55})) as raw:
            raw.ram[ROM : ROM + 0x200] = b"\x55" * 0x200
            raw.set(hv.HV_X86_RFLAGS, 3)
            hv.hv_vm_protect(ROM, 0x1000, hv.HV_MEMORY_READ | hv.HV_MEMORY_EXEC)
            assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
            assert raw.reg(hv.HV_X86_RIP) == CODE
            assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) & 0x3F in (0x2A, 0x2B)
            assert bytes(raw.ram[ROM : ROM + 0x200]) == b"\x55" * 0x200
            hv.hv_vm_protect(ROM, 0x1000, 7)
            assert raw.run() == hv.VMX_REASON_HLT
            after.append(([raw.reg(reg) for reg in REGISTERS], bytes(raw.ram)))
    assert after[0] == after[1]


def test_memory_that_comes_while_an_access_waits_is_not_written(kvm: str) -> None:
    with on(kvm, Case("0007", {"DS": HOLE})) as raw:  # add [bx], al
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        hv.hv_vm_map(raw.ram, HOLE, 0x1_0000, 7)
        raw.ram[0x3000] = 0x10
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.ram[0x3000] == 0x54
        hv.hv_vm_unmap(HOLE, 0x1_0000)


def test_a_port_read_that_the_client_has_answered(kvm: str) -> None:
    """As the instruction does, KVM goes on by itself; any other way, from where the client has put it."""
    for code, size in (("ec", 1), ("ed", 2), ("66ed", 4)):
        for change in (0, 1 << 40, 1 << 20):
            seen = []
            for engine in ("soft", kvm):
                with on(engine, Case(code + "40")) as raw:
                    assert raw.run() == hv.VMX_REASON_IO
                    kept = 0x1122_3344 & ~((1 << 8 * size) - 1)
                    raw.set(hv.HV_X86_RAX, (kept | 0xAA) ^ change)
                    raw.set(hv.HV_X86_RIP, CODE + len(code) // 2)
                    assert raw.run() == hv.VMX_REASON_HLT
                    seen.append([raw.reg(reg) for reg in REGISTERS])
            assert seen[0] == seen[1], (code, change)


def test_what_is_not_answered_comes_again(kvm: str) -> None:
    with on(kvm, Case("ec 8807".replace(" ", ""), {"DS": HOLE})) as raw:
        for _ in range(3):
            assert raw.run() == hv.VMX_REASON_IO
            assert (raw.reg(hv.HV_X86_RIP), raw.reg(hv.HV_X86_RAX)) == (CODE, 0x1122_3344)
        raw.set(hv.HV_X86_RIP, CODE + 1)
        for _ in range(3):
            assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
            assert raw.reg(hv.HV_X86_RIP) == CODE + 1


def test_a_triple_fault(kvm: str) -> None:
    with on(kvm, Case("0f0b")) as raw:
        long_mode(raw)
        raw.write(hv.VMCS_GUEST_IDTR_LIMIT, 0)
        assert raw.run() == hv.VMX_REASON_TRIPLE_FAULT


def test_msr_exits_and_native_ones(kvm: str) -> None:
    with on(kvm, Case("0f32 0f30".replace(" ", ""), registers={"RCX": 0xC000_0082})) as raw:
        for reason in (hv.VMX_REASON_RDMSR, hv.VMX_REASON_WRMSR):
            assert raw.run() == reason
            raw.set(hv.HV_X86_RIP, raw.reg(hv.HV_X86_RIP) + 2)
        hv.hv_vcpu_enable_native_msr(raw.vcpu, 0xC000_0082, True)
        hv.hv_vcpu_write_msr(raw.vcpu, 0xC000_0082, 0x1234)
        raw.set(hv.HV_X86_RIP, CODE)
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_RAX) == 0x1234


def test_events_are_injected_as_the_software_cpu_does(kvm: str) -> None:
    seen = []
    for engine in ("soft", kvm):
        with on(engine, Case("90")) as raw:
            raw.ram[0x80:0x84] = struct.pack("<HH", 0x1800, 0)
            raw.ram[0x1800:0x1802] = bytes.fromhex("eef4")
            raw.set(hv.HV_X86_RFLAGS, 0x202)
            raw.write(hv.VMCS_CTRL_VMENTRY_IRQ_INFO, 0x8000_0020)
            assert raw.run() == hv.VMX_REASON_IO
            seen.append(([raw.reg(reg) for reg in REGISTERS], raw.read(hv.VMCS_CTRL_VMENTRY_IRQ_INFO), bytes(raw.ram)))
            raw.write(hv.VMCS_CTRL_VMENTRY_INSTR_LEN, 2)
            raw.write(hv.VMCS_CTRL_VMENTRY_IRQ_INFO, 0x8000_0420)  # a software interrupt
            assert raw.run() == hv.VMX_REASON_IO
            seen.append(([raw.reg(reg) for reg in REGISTERS], raw.read(hv.VMCS_CTRL_VMENTRY_IRQ_INFO), bytes(raw.ram)))
    assert seen[:2] == seen[2:]


def test_what_kvm_cannot_intercept_must_be_zero(kvm: str) -> None:
    with on(kvm, Case("90")) as raw:
        for name in (hv.VMCS_CTRL_EXC_BITMAP, hv.VMCS_CTRL_CR0_MASK, hv.VMCS_CTRL_CR4_MASK):
            assert hv.hv_vmx_vcpu_get_cap_write_vmcs(raw.vcpu, name) == (0, 0)
            with pytest.raises(Unsupported, match="must be 0"):
                raw.write(name, 1)
            raw.write(name, 0)


def test_memory_that_goes_between_a_load_and_its_store(kvm: str) -> None:
    """KVM has read it and could not write it: the instruction is found all the same, and has not happened."""
    with on(kvm, Case("fe07 ebfc".replace(" ", ""), {"DS": ROM}, {"RBX": 0x100})) as raw:  # inc byte [bx]; jmp
        for _ in range(40):
            with thread(lambda: (time.sleep(0.002), hv.hv_vm_unmap(ROM, 0x1000))):
                assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
                assert raw.reg(hv.HV_X86_RIP) == CODE
            hv.hv_vm_map(memoryview(raw.ram)[ROM : ROM + 0x1000], ROM, 0x1000, 7)


def test_a_window_opens_in_hlt(kvm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """STI, HLT: the guest can take an interrupt from there on. SDM vol. 3C, "Other Causes of VM Exits"."""
    monkeypatch.setattr("pyhv.engines.kvm.vm.KvmVm.sees_windows", lambda _: True)  # else the twin does it all
    seen = []
    for engine in ("soft", kvm):
        with on(engine, Case("fb")) as raw:
            controls = raw.read(hv.VMCS_CTRL_CPU_BASED)
            raw.write(hv.VMCS_CTRL_CPU_BASED, controls & ~hv.CPU_BASED_HLT | hv.CPU_BASED_IRQ_WND)
            hv.hv_vcpu_run_until(raw.vcpu, hv.mach_absolute_time() + 2_000_000_000)
            seen.append([raw.read(hv.VMCS_RO_EXIT_REASON), raw.reg(hv.HV_X86_RIP)])
            seen[-1].append(raw.read(hv.VMCS_GUEST_ACTIVITY_STATE))
    assert seen == [[hv.VMX_REASON_IRQ_WND, CODE + 2, 1]] * 2
