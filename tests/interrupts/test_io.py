"""I/O APIC, message-signalled interrupts, 8259 pair. Intel, "82093AA I/O Advanced Programmable Interrupt Controller",
"8259A Programmable Interrupt Controller"; SDM vol. 3, "Message Signalled Interrupts".
"""

from __future__ import annotations

import pytest

from pyhv import BadArgument, DeadlinePassed

from .machine import EOI, IO, IRR, ISR, LEVEL, LINT0, MASKED, SVR, TMR, Machine

WAIT = "wait: sti; hlt; jmp wait"
REMOTE_IRR = 1 << 14
LOWEST, NMI, EXT_INT = 1 << 8, 4 << 8, 7 << 8
LOGICAL = 1 << 11
START = "mov al, 0x11; out 0x20, al; out 0xa0, al; mov al, 0x20; out 0x21, al; mov al, 0x28; out 0xa1, al;"
INIT = START + "mov al, 4; out 0x21, al; mov al, 2; out 0xa1, al; mov al, 1; out 0x21, al; out 0xa1, al;"
"""Both 8259 at vectors 0x20 and 0x28, nothing masked."""


def test_an_edge_interrupts_once(machine: Machine) -> None:
    machine.redirect(4, 0x44)
    machine.code(WAIT)
    machine.vm.interrupts.set_pin(4, True)
    machine.idle()
    assert machine.log() == [0x44]
    machine.vm.interrupts.set_pin(4, True)
    machine.idle()
    assert machine.log() == [0x44], "it is high already"
    machine.vm.interrupts.pulse_pin(4)
    machine.vm.interrupts.pulse_pin(4)
    machine.idle()
    assert machine.log() == [0x44, 0x44], "lowered and raised, and then twice within one"


def test_a_level_interrupts_until_it_is_gone(machine: Machine) -> None:
    machine.redirect(9, LEVEL | 0x49)
    machine.vector(
        0x49,
        "push eax; inc dword ptr [0x500]; mov eax, [0x500]; cmp eax, 3; jb more; mov eax, 0x500; out 0x80, al;"
        f"more: mov dword ptr [0xfee00000+{EOI}], 0; pop eax; iretd",
    )
    machine.code(WAIT)
    machine.vm.interrupts.set_pin(9, True)
    assert type(machine.run()).__name__ == "PortOut"
    assert machine.io_read(0x10 + 18) & REMOTE_IRR
    assert machine.read(TMR + 0x20) == 1 << 9
    machine.vm.interrupts.set_pin(9, False)
    machine.idle()
    assert machine.ram[0x500] == 3
    assert not machine.io_read(0x10 + 18) & REMOTE_IRR


def test_a_level_waits_behind_its_mask(machine: Machine) -> None:
    machine.redirect(9, MASKED | LEVEL | 0x49)
    machine.code(WAIT)
    machine.vm.interrupts.set_pin(9, True)
    machine.idle()
    assert machine.log() == []
    machine.code(f"mov dword ptr [esi], {0x10 + 18}; mov dword ptr [esi+0x10], {LEVEL | 0x49};" + WAIT)
    assert machine.run(2 * machine.patience) == DeadlinePassed()
    assert set(machine.log()) == {0x49}


def test_an_edge_behind_a_mask_is_lost(machine: Machine) -> None:
    machine.redirect(4, MASKED | 0x44)
    machine.vm.interrupts.pulse_pin(4)
    machine.redirect(4, 0x44)
    machine.code(WAIT)
    machine.idle()
    assert machine.log() == []


def test_an_entry_that_turns_to_edge_forgets_its_level(machine: Machine) -> None:
    machine.redirect(9, LEVEL | 0x49)
    machine.vm.interrupts.set_pin(9, True)
    assert machine.io_read(0x10 + 18) & REMOTE_IRR
    machine.io_write(0x10 + 18, MASKED | 0x49)
    assert not machine.io_read(0x10 + 18) & REMOTE_IRR


def test_the_eoi_register_of_the_io_apic(machine: Machine) -> None:
    machine.redirect(9, LEVEL | 0x49)
    machine.vm.interrupts.set_pin(9, True)
    machine.vm.interrupts.set_pin(9, False)
    machine.code("mov dword ptr [esi+0x40], 0x49; hlt")
    machine.to_halt()
    assert not machine.io_read(0x10 + 18) & REMOTE_IRR


def test_a_level_that_nobody_takes_comes_when_somebody_does(machine: Machine) -> None:
    machine.write(SVR, 0xFF)
    machine.redirect(9, LEVEL | 0x49)
    machine.vm.interrupts.set_pin(9, True)
    assert not machine.io_read(0x10 + 18) & REMOTE_IRR
    machine.write(SVR, 0x1FF)
    assert machine.read(IRR + 0x20) == 1 << 9


def test_the_registers_of_the_io_apic(machine: Machine) -> None:
    machine.code(
        "mov dword ptr [esi], 1; mov eax, [esi+0x10]; mov byte ptr [esi], 0; mov dword ptr [esi+0x10], 0xffffffff;"
        "mov ebx, [esi+0x10]; mov dword ptr [esi], 0x10; mov dword ptr [esi+0x10], 0xffffffff; mov ecx, [esi+0x10];"
        "mov dword ptr [esi], 0x40; mov edx, [esi+0x10]; hlt"
    )
    machine.to_halt()
    regs = machine.cpus[0].regs
    assert (regs.rax, regs.rbx, regs.rcx, regs.rdx) == (0x0017_0020, 0x0F00_0000, 0x0001_AFFF, 0)


def test_messages(two: Machine) -> None:
    for n in range(2):
        two.code(WAIT, n)
    two.vm.interrupts.send_msi(0xFEE0_0000, 0x41)
    two.vm.interrupts.send_msi(0xFEE0_1000, 0x42)
    two.vm.interrupts.send_msi(0xFEEF_F000, 0x43)  # everybody
    two.vm.interrupts.send_msi(0xFEE0_2004, 0x44)  # logical, the second
    two.vm.interrupts.send_msi(0xFEE0_300C, 0x45)  # one of both
    two.vm.interrupts.send_msi(0xFEE0_7000, 0x46)  # nobody
    two.vm.interrupts.send_msi(0xFEE0_1000, NMI)
    for n in range(2):
        two.idle(n=n)
    assert (sorted(two.log(0)), sorted(two.log(1))) == ([0x41, 0x43, 0x45], [2, 0x42, 0x43, 0x44])


def test_lowest_priority_goes_where_least_is_done(two: Machine) -> None:
    two.write(0x80, 0x40, 0)
    two.vm.interrupts.send_msi(0xFEE0_3004, LOWEST | 0x71)
    assert (two.read(IRR + 0x30, 0), two.read(IRR + 0x30, 1)) == (0, 1 << 17)
    two.write(0x80, 0x50, 1)
    two.redirect(5, LOGICAL | LOWEST | 0x72, 3 << 24)
    two.vm.interrupts.pulse_pin(5)
    assert (two.read(IRR + 0x30, 0), two.read(IRR + 0x30, 1)) == (1 << 18, 1 << 17)


@pytest.mark.parametrize(
    "call", [("set_pin", 24, True), ("set_irq", 16, True), ("set_pin", -1, True), ("send_msi", 0xFED0_0000, 1)]
)
def test_what_is_no_line(machine: Machine, call: tuple[str, int, int]) -> None:
    with pytest.raises(BadArgument):
        getattr(machine.vm.interrupts, call[0])(*call[1:])


# The 8259 pair.


def eoi(vector: int) -> str:
    second = "out 0xa0, al;" if vector >= 0x28 else ""
    return (
        f"push eax; push ebx; mov ebx, [0x500]; mov byte ptr [ebx+0x504], {vector}; inc dword ptr [0x500];"
        f"mov al, 0x20; {second} out 0x20, al; pop ebx; pop eax; iretd"
    )


def pic(machine: Machine, *lines: int) -> None:
    """Handlers that end the interrupt at the 8259."""
    for n, line in enumerate(lines):
        at = 0x18000 + 0x100 * n
        machine.put(at, machine.assemble(eoi(0x20 + line), at, 32))
        machine.put(0x1000 + 8 * (0x20 + line), bytes([at & 0xFF, at >> 8 & 0xFF, 8, 0, 0, 0x8E, at >> 16, 0]))


def seen(machine: Machine) -> list[int]:
    return [number - 0x20 for number in machine.ram[0x504 : 0x504 + machine.ram[0x500]]]


def test_virtual_wire(machine: Machine) -> None:
    """IRQs through the 8259 pair to LINT0 in ExtINT mode, which is how the boot processor starts."""
    pic(machine, 0, 1, 8, 12)
    machine.write(LINT0, 0x700)
    for irq in (12, 0, 8, 1):
        machine.vm.interrupts.set_irq(irq, True)
    machine.code(INIT + WAIT)
    machine.idle()
    assert seen(machine) == [], "its initialization forgets edges"
    for irq in (12, 0, 8, 1):
        machine.vm.interrupts.set_irq(irq, False)
        machine.vm.interrupts.set_irq(irq, True)
    machine.idle()
    assert seen(machine) == [0, 1, 8, 12]
    assert machine.read(ISR + 0x10) == 0, "an ExtINT is not in service at the APIC"


def test_the_masks_of_the_pair(machine: Machine) -> None:
    pic(machine, 3, 4, 10)
    machine.write(LINT0, 0x700)
    machine.code(
        INIT
        + "mov al, 0x08; out 0x21, al; mov al, 0xff; out 0xa1, al; in al, 0x21; mov bl, al; in al, 0xa1; mov bh, al;"
        + WAIT
    )
    machine.idle()
    assert machine.cpus[0].regs.rbx & 0xFFFF == 0xFF08
    for irq in (3, 4, 10):
        machine.vm.interrupts.pulse_irq(irq)
    machine.idle()
    assert seen(machine) == [4]
    machine.code("mov al, 0; out 0xa1, al; out 0x21, al;" + WAIT)
    machine.idle()
    assert seen(machine) == [4, 10, 3], "the second's line 2 is more urgent than 3"


def test_lint0_masked_keeps_the_pair_out(machine: Machine) -> None:
    pic(machine, 1)
    machine.write(LINT0, MASKED | 0x700)
    machine.code(INIT + WAIT)
    machine.vm.interrupts.set_irq(1, False)
    machine.idle()
    machine.vm.interrupts.set_irq(1, True)
    machine.idle()
    assert seen(machine) == []
    machine.code(f"mov dword ptr [edi+{LINT0}], 0x700;" + WAIT)
    machine.idle()
    assert seen(machine) == [1]


def test_through_a_pin_of_the_io_apic(machine: Machine) -> None:
    pic(machine, 5)
    machine.write(LINT0, MASKED)
    machine.redirect(0, EXT_INT)
    machine.code(INIT + WAIT)
    machine.idle()
    machine.vm.interrupts.pulse_irq(5)
    machine.idle()
    machine.vm.interrupts.pulse_irq(5)
    machine.idle()
    assert seen(machine) == [5, 5]


def test_the_isa_timer_is_on_pin_2(machine: Machine) -> None:
    machine.redirect(2, 0x52)
    machine.redirect(4, 0x54)
    machine.vm.interrupts.pulse_irq(0)
    machine.vm.interrupts.pulse_irq(4)
    machine.vm.interrupts.pulse_irq(2)
    machine.code(WAIT)
    machine.idle()
    assert machine.log() == [0x54, 0x52]


def test_levels_of_the_pair(machine: Machine) -> None:
    """ELCR: IRQ 10 by level comes again until it is gone; its own bits cannot make the timer one."""
    machine.write(LINT0, 0x700)
    at = 0x18000
    machine.put(
        at,
        machine.assemble(
            "inc dword ptr [0x500]; out 0x80, al; mov al, 0x20; out 0xa0, al; out 0x20, al; iretd", at, 32
        ),
    )
    machine.put(0x1000 + 8 * 0x2A, bytes([0, 0x80, 8, 0, 0, 0x8E, 1, 0]))
    machine.code(INIT + "mov dx, 0x4d0; mov ax, 0x04ff; out dx, ax; in ax, dx; mov bx, ax;" + WAIT)
    machine.idle()
    assert machine.cpus[0].regs.rbx & 0xFFFF == 0x04F8
    machine.vm.interrupts.set_irq(10, True)
    for _ in range(3):
        assert type(machine.run()).__name__ == "PortOut"
    machine.vm.interrupts.set_irq(10, False)
    assert machine.run(2) == DeadlinePassed()
    assert machine.ram[0x500] == 3


def test_poll_and_spurious(machine: Machine) -> None:
    machine.write(LINT0, MASKED)
    machine.code(INIT + "hlt")
    machine.to_halt()
    machine.vm.interrupts.pulse_irq(6)
    machine.code(
        "mov al, 0x0c; out 0x20, al; in al, 0x20; mov bl, al; mov al, 0x0b; out 0x20, al; in al, 0x20; mov bh, al;"
        "mov al, 0x66; out 0x20, al; in al, 0x20; mov cl, al; mov al, 0x0c; out 0x20, al; in al, 0x20; mov ch, al; hlt"
    )
    machine.to_halt()
    regs = machine.cpus[0].regs
    assert (regs.rbx & 0xFFFF, regs.rcx & 0xFFFF) == (0x4086, 0x0000)
    assert machine.vm.interrupts.engine.pic_read(0x20) == 0


def test_rotation(machine: Machine) -> None:
    pic(machine, 0, 3, 5)
    machine.write(LINT0, 0x700)
    machine.code(INIT + "mov al, 0xc4; out 0x20, al; hlt")  # the lowest is 4, so 5 is the most urgent
    machine.to_halt()
    for irq in (0, 3, 5):
        machine.vm.interrupts.pulse_irq(irq)
    machine.code(WAIT)
    machine.idle()
    assert seen(machine) == [5, 0, 3]


def test_the_state_is_kept(machine: Machine) -> None:
    machine.redirect(9, LEVEL | 0x49)
    machine.vm.interrupts.set_pin(9, True)
    machine.code(INIT + "hlt")
    machine.to_halt()
    kept = machine.vm.interrupts.state
    machine.redirect(9, MASKED)
    machine.vm.interrupts.set_pin(9, False)
    machine.code("mov al, 0xff; out 0x21, al; hlt")
    machine.to_halt()
    assert machine.vm.interrupts.state != kept
    machine.vm.interrupts.state = kept
    assert machine.vm.interrupts.state == kept
    for broken in (kept[:-1], b"\xff" * len(kept), b""):
        with pytest.raises(BadArgument):
            machine.vm.interrupts.state = broken
    assert machine.vm.interrupts.state == kept


def test_ports_that_are_not_its_own_exit(machine: Machine) -> None:
    machine.code("in al, 0x22; hlt")
    assert type(machine.run()).__name__ == "PortIn"
    machine.cpus[0].answer(7)
    machine.to_halt()


def test_a_string_of_ports(machine: Machine) -> None:
    machine.code(f"mov esi, {IO - IO + 0x500}; mov dx, 0x4d1; mov ecx, 3; rep outsb; in al, dx; hlt")
    machine.put(0x500, b"\x02\x04\x08")
    machine.to_halt()
    assert machine.cpus[0].regs.rax & 0xFF == 8
