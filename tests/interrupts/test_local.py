"""The local APIC: priorities, its vector table, errors, identity. Intel SDM vol. 3, chapter "Advanced Programmable
Interrupt Controller (APIC)".
"""

from __future__ import annotations

import pytest

from pyhv import BadArgument, DeadlinePassed, Halted, VirtualMachine
from pyhv.framework import _intel_constants as c

from .machine import (
    BASE,
    DFR,
    ERROR,
    ESR,
    ICR,
    ID,
    IRR,
    ISR,
    LDR,
    LINT0,
    MASKED,
    PPR,
    SVR,
    TIMER,
    TPR,
    VERSION,
    X2APIC,
    Machine,
)

SELF = 1 << 18
"""Shorthand: to itself."""


def test_registers_after_reset(machine: Machine) -> None:
    machine.cpus[0].reset()
    found = {name: machine.read(name) for name in (ID, TPR, PPR, LDR, DFR, SVR, ESR, ICR, TIMER)}
    assert found == {ID: 0, TPR: 0, PPR: 0, LDR: 0, DFR: 0xFFFF_FFFF, SVR: 0xFF, ESR: 0, ICR: 0, TIMER: MASKED}
    assert machine.read(VERSION) & 0xFF in range(0x10, 0x16), "an integrated APIC"
    assert machine.read(LINT0) == 0x700, "the boot processor starts in virtual-wire mode"


def test_a_self_interrupt_comes_right_behind_its_command(machine: Machine) -> None:
    machine.code(f"sti; nop; mov dword ptr [edi+{ICR}], {SELF | 0x41}; cli; hlt")
    machine.to_halt()
    assert machine.log() == [0x41]


def test_what_waits_is_taken_by_priority(machine: Machine) -> None:
    texts = (f"mov dword ptr [edi+{ICR}], {SELF | vector};" for vector in (0x35, 0x91, 0x36, 0x50))
    machine.code("".join(texts) + "sti; nop; cli; hlt")
    machine.to_halt()
    assert machine.log() == [0x91, 0x50, 0x36, 0x35]


def test_task_priority_holds_back_its_class_and_those_below(machine: Machine) -> None:
    texts = "".join(f"mov dword ptr [edi+{ICR}], {SELF | vector};" for vector in (0x4F, 0x50, 0x5F, 0x60))
    machine.code(f"mov dword ptr [edi+{TPR}], 0x51; {texts} sti; nop; cli; mov eax, [edi+{PPR}]; hlt")
    machine.to_halt()
    assert machine.log() == [0x60]
    assert (machine.cpus[0].regs.rax, machine.read(IRR + 0x20)) == (0x51, 0x8001_8000)
    machine.code("xor eax, eax; mov cr8, rax; sti; nop; cli; hlt".replace("mov cr8, rax", f"mov [edi+{TPR}], eax"))
    machine.to_halt()
    assert machine.log() == [0x60, 0x5F, 0x50, 0x4F]


def test_task_priority_and_cr8_are_one(machine: Machine) -> None:
    machine.code(f"mov dword ptr [edi+{TPR}], 0x7A; hlt")
    machine.to_halt()
    assert machine.cpus[0].engine.read_register(c.HV_X86_TPR) == 0x70
    machine.cpus[0].engine.write_register(c.HV_X86_TPR, 0x20)
    assert machine.read(TPR) == 0x20


def test_a_handler_is_interrupted_by_a_higher_class_only(machine: Machine) -> None:
    machine.vector(
        0x50,
        "push eax; mov edi, 0xfee00000;"
        f"mov dword ptr [edi+{ICR}], {SELF | 0x5E}; mov dword ptr [edi+{ICR}], {SELF | 0x61};"
        f"sti; nop; nop; mov eax, [edi+{PPR}]; mov [0x500], eax; mov eax, [edi+{ISR + 0x20}]; mov [0x504], eax;"
        "cli; mov dword ptr [edi+0xb0], 0; pop eax; iretd",
    )
    machine.code(f"sti; mov dword ptr [edi+{ICR}], {SELF | 0x50}; nop; nop; cli; hlt")
    machine.to_halt()
    assert machine.log() == [0x61, 0x5E], "0x61 within the handler, 0x5E behind it"
    assert (machine.ram[0x500], bytes(machine.ram[0x504:0x508])) == (0x50, (1 << 16).to_bytes(4, "little"))
    assert machine.read(ISR + 0x20) == 0


def test_an_end_of_interrupt_with_nothing_in_service_is_nothing(machine: Machine) -> None:
    machine.code("mov dword ptr [edi+0xb0], 0; hlt")
    machine.to_halt()
    assert machine.log() == []


@pytest.mark.parametrize("vector", [0, 15])
def test_an_illegal_vector_is_an_error(machine: Machine, vector: int) -> None:
    machine.write(ERROR, 0x33)
    machine.code(f"sti; mov dword ptr [edi+{ICR}], {SELF | vector}; nop; cli; mov [edi+{ESR}], eax; hlt")
    machine.to_halt()
    assert (machine.log(), machine.read(ESR)) == ([0x33], 1 << 5)
    machine.write(ESR, 0)
    assert machine.read(ESR) == 0, "it was told"
    machine.vm.interrupts.send_msi(0xFEE0_0000, vector)
    machine.write(ESR, 0)
    assert machine.read(ESR) == 1 << 6, "received"


def test_what_lies_between_the_registers(machine: Machine) -> None:
    machine.code(
        f"mov eax, [edi+{VERSION + 4}]; mov ebx, [edi+0x40]; movzx ecx, byte ptr [edi+{VERSION + 2}];"
        f"mov byte ptr [edi+{TPR}], 0x80; mov dword ptr [edi+{TPR + 1}], 0x90; mov [edi+{ESR}], eax; hlt"
    )
    machine.to_halt()
    regs = machine.cpus[0].regs
    assert (regs.rax, regs.rbx, regs.rcx) == (0, 0, machine.read(VERSION) >> 16 & 0xFF)
    assert (machine.read(TPR), machine.read(ESR)) == (0, 1 << 7)


def test_disabled_by_software(machine: Machine) -> None:
    machine.write(LINT0, 0x44)
    machine.write(SVR, 0xFF)
    assert machine.read(LINT0) == MASKED | 0x44
    machine.write(LINT0, 0x44)
    assert machine.read(LINT0) == MASKED | 0x44, "while it is disabled masks stay"
    machine.vm.interrupts.send_msi(0xFEE0_0000, 0x44)
    assert machine.read(IRR + 0x20) == 0


def test_disabled_altogether_it_is_not_there(machine: Machine) -> None:
    cpu = machine.cpus[0]
    machine.code(f"mov ecx, {BASE}; rdmsr; and eax, 0xfffff7ff; wrmsr; mov eax, 1; cpuid; hlt")
    machine.to_halt()
    assert cpu.regs.rdx >> 9 & 1 == 0, "CPUID follows"
    machine.code(f"mov eax, [edi+{ID}]; hlt")
    exit = machine.run()
    assert type(exit).__name__ == "MmioLoad", exit


def test_the_page_moves(machine: Machine) -> None:
    machine.code(
        f"mov ecx, {BASE}; rdmsr; and eax, 0xfff; or eax, 0xfed10000; wrmsr;"
        f"mov eax, [0xfed10000+{VERSION}]; mov dword ptr [0xfed10000+{TPR}], 0x30; hlt"
    )
    machine.to_halt()
    assert (machine.cpus[0].regs.rax, machine.read(TPR)) == (machine.read(VERSION), 0x30)


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (0xFEE0_0900, True), (0xFEE0_0D00, True), (0xFEE0_0500, False), (0xFEE0_0901, False), (0xFEE0_0B00, False),
        (1 << 41, False),
    ],
)  # fmt: skip
def test_what_apic_base_takes(machine: Machine, value: int, taken: bool) -> None:
    machine.vector(13, "mov ebx, 13; hlt")
    machine.code(f"mov ebx, 1; mov ecx, {BASE}; mov eax, {value & 0xFFFFFFFF}; mov edx, {value >> 32}; wrmsr; hlt")
    machine.to_halt()
    assert machine.cpus[0].regs.rbx == (1 if taken else 13)


def test_x2apic_mode_is_left_by_way_of_disabled(machine: Machine) -> None:
    machine.vector(13, "mov ebx, 13; hlt")
    write = "mov eax, {:#x}; wrmsr;"
    machine.code(
        f"mov ebx, 1; mov ecx, {BASE}; xor edx, edx;" + write.format(0xFEE00D00) + write.format(0xFEE00900) + "hlt"
    )
    machine.to_halt()
    assert machine.cpus[0].regs.rbx == 13
    machine.code(
        f"mov ebx, 1; mov ecx, {BASE}; xor edx, edx;" + write.format(0xFEE00100) + write.format(0xFEE00900) + "hlt"
    )
    machine.to_halt()
    assert machine.cpus[0].regs.rbx == 1


def test_x2apic_registers(machine: Machine) -> None:
    """All 256 MSRs, as RDMSR and WRMSR of 0 find them: what is there, and what is #GP."""
    machine.cpus[0].msrs[BASE] = 0xFEE0_0D00
    machine.code(
        "mov ecx, 0x800; mov ebx, 0x80000;"
        "next: xor ebp, ebp; rdmsr; shl ebp, 1; xor eax, eax; xor edx, edx; wrmsr; mov [ebx], ebp; inc ebx; inc ecx;"
        "cmp ecx, 0x900; jne next; hlt"
    )
    machine.vector(13, "add dword ptr [esp+4], 2; or ebp, 1; lea esp, [esp+4]; iretd")  # over RDMSR or WRMSR
    machine.to_halt()
    kinds = {0: "read and write", 1: "read", 2: "write", 3: "none"}
    found: dict[str, list[int]] = {kind: [] for kind in kinds.values()}
    for number in range(256):
        found[kinds[machine.ram[0x80000 + number]]].append(number)
    assert found["read and write"] == [0x08, 0x0F, 0x28, 0x2F, 0x30, *range(0x32, 0x39), 0x3E]
    assert found["read"] == [0x02, 0x03, 0x0A, 0x0D, *range(0x10, 0x28), 0x39]
    assert found["write"] == [0x0B, 0x3F]


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (0x08, 0x100), (0x0B, 1), (0x0F, 0x200), (0x28, 1), (0x30, 1 << 20), (0x30, 1 << 12), (0x32, 1 << 19),
        (0x35, 1 << 11), (0x37, 1 << 8), (0x38, 1 << 32), (0x3E, 4), (0x3F, 0x100),
    ],
)  # fmt: skip
def test_reserved_bits_of_x2apic_registers(machine: Machine, number: int, value: int) -> None:
    machine.cpus[0].msrs[BASE] = 0xFEE0_0D00
    machine.vector(13, "mov ebx, 13; hlt")
    machine.code(
        f"mov ebx, 1; mov ecx, {X2APIC + number}; mov eax, {value & 0xFFFFFFFF}; mov edx, {value >> 32}; wrmsr; hlt"
    )
    machine.to_halt()
    assert machine.cpus[0].regs.rbx == 13


def test_x2apic_interrupts(machine: Machine) -> None:
    machine.cpus[0].msrs[BASE] = 0xFEE0_0D00
    for vector in (0x40, 0x50, 0x60):
        machine.vector(vector, "inc ebx; push eax; xor eax, eax; xor edx, edx; mov ecx, 0x80b; wrmsr; pop eax; iretd")
    send = "mov ecx, {}; mov eax, {:#x}; mov edx, {}; wrmsr;"
    machine.code(
        "xor ebx, ebx; sti;" + send.format(0x83F, 0x40, 0) + send.format(0x830, SELF | 0x50, 0)
        + send.format(0x830, 0x860, 1) + "cli; hlt"
    )  # fmt: skip
    machine.to_halt()
    assert machine.cpus[0].regs.rbx == 3
    assert machine.read(LDR) == 1


def test_identity(two: Machine) -> None:
    for n, cpu in enumerate(two.cpus):
        two.code("mov eax, 1; cpuid; mov ebp, ebx; push edx; mov eax, 11; mov ecx, 1; cpuid; pop esi; hlt", n)
        two.to_halt(n)
        regs = cpu.regs
        assert (regs.rbp >> 24, regs.rbp >> 16 & 0xFF, regs.rsi >> 9 & 1, regs.rsi >> 28 & 1) == (n, 2, 1, 1)
        assert (regs.rax, regs.rbx, regs.rcx, regs.rdx) == (1, 2, 0x201, n), "leaf 0BH, cores"
        assert two.read(ID, n) == n << 24


def test_the_state_is_kept(machine: Machine) -> None:
    cpu = machine.cpus[0]
    machine.code(
        f"mov dword ptr [edi+{ICR}], {SELF | 0x77}; mov dword ptr [edi+{TPR}], 0x10;"
        f"mov dword ptr [edi+{TIMER}], 0x20055; hlt"
    )
    machine.to_halt()
    kept = cpu.state
    cpu.reset()
    machine.write(SVR, 0x1FF)
    cpu.state = type(kept).from_bytes(kept.to_bytes())
    assert cpu.state == kept
    assert (machine.read(TPR), machine.read(TIMER), machine.read(IRR + 0x30)) == (0x10, 0x20055, 1 << 23)
    machine.code("sti; nop; cli; hlt")
    machine.to_halt()
    assert machine.log() == [0x77]


def test_a_state_that_is_none(machine: Machine) -> None:
    state = machine.cpus[0].state
    with pytest.raises(BadArgument):
        machine.cpus[0].state = type(state)(state.values, state.xsave, state.unfinished, state.apic[:-1])
    assert machine.cpus[0].state == state


def test_halt_with_interrupts_off_is_told_once(machine: Machine) -> None:
    machine.code("cli; hlt; mov eax, 5; hlt")
    assert machine.run() == Halted()
    assert machine.run(2) == DeadlinePassed()
    machine.vm.interrupts.send_msi(0xFEE0_0000, 0x400)
    assert machine.run() == Halted(), "the NMI ended it"
    assert (machine.log(), machine.cpus[0].regs.rax) == ([2], 5)


def test_a_vm_without_interrupt_controllers_says_so() -> None:
    with VirtualMachine("soft") as vm, pytest.raises(Exception, match="apic=True"):
        vm.interrupts.set_pin(3, True)
