"""What the oracle cannot judge, because user mode does not let it: each instruction's own work, once."""

from __future__ import annotations

import struct

import pytest

from pyhv import Halted, Hypercall, PortIn, PortOut, PortOutMany

from .machine import CODE, CODE0, CODE64, DATA16, INNER, LOCAL, STACK0, TASK, Machine
from .test_long import user

AT = 0x5000
"""Where operands lie."""


def done(machine: Machine, text: str, bits: int = 32) -> None:
    """Run `text` to the HLT behind it."""
    length = machine.code(f"{text}; hlt", bits=bits)
    assert machine.cpu.run(budget=1000) == Halted()
    assert machine.cpu.regs.rip == CODE + length


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("lds bx, [0x5000]", "ds", marks=pytest.mark.judges("LDS r16 m32")),
        pytest.param("les bx, [0x5000]", "es", marks=pytest.mark.judges("LES r16 m32")),
        pytest.param("lss bx, [0x5000]", "ss", marks=pytest.mark.judges("LSS r16 m32")),
        pytest.param("lfs bx, [0x5000]", "fs", marks=pytest.mark.judges("LFS r16 m32")),
        pytest.param("lgs bx, [0x5000]", "gs", marks=pytest.mark.judges("LGS r16 m32")),
        pytest.param("lds ebx, [0x5000]", "ds", marks=pytest.mark.judges("LDS r32 m")),
        pytest.param("les ebx, [0x5000]", "es", marks=pytest.mark.judges("LES r32 m")),
        pytest.param("lss ebx, [0x5000]", "ss", marks=pytest.mark.judges("LSS r32 m")),
        pytest.param("lfs ebx, [0x5000]", "fs", marks=pytest.mark.judges("LFS r32 m")),
        pytest.param("lgs ebx, [0x5000]", "gs", marks=pytest.mark.judges("LGS r32 m")),
    ],
)
def test_far_pointers_load_a_register_and_a_segment(machine: Machine, text: str, name: str) -> None:
    narrow = " bx" in text
    machine.put(AT, struct.pack("<HH" if narrow else "<IH", 0x1234 if narrow else 0x1234_5678, DATA16))
    machine.cpu.regs.rbx = 0xAAAA_AAAA
    done(machine, text)
    assert machine.cpu.regs.rbx == (0xAAAA_1234 if narrow else 0x1234_5678)
    segment = getattr(machine.cpu.segments, name)
    assert (segment.selector, segment.limit) == (DATA16, 0xFFFF)


@pytest.mark.parametrize(
    ("opcode", "name"),
    [
        pytest.param("0xb2", "ss", marks=pytest.mark.judges("LSS r64 m")),
        pytest.param("0xb4", "fs", marks=pytest.mark.judges("LFS r64 m")),
        pytest.param("0xb5", "gs", marks=pytest.mark.judges("LGS r64 m")),
    ],
)
def test_far_pointers_of_64_bits(long_machine: Machine, opcode: str, name: str) -> None:
    long_machine.put(AT, struct.pack("<QH", 0x1234_5678_9ABC_DEF0, DATA16))
    done(long_machine, f".byte 0x48, 0x0f, {opcode}, 0x1c, 0x25; .long 0x5000", 64)  # GNU as does not know it
    assert long_machine.cpu.regs.rbx == 0x1234_5678_9ABC_DEF0
    assert getattr(long_machine.cpu.segments, name).selector == DATA16


@pytest.mark.judges("POP sr")
def test_pop_loads_a_segment(machine: Machine) -> None:
    done(machine, f"push {DATA16}; pop es; push {DATA16}; pop fs")
    assert [machine.cpu.segments.es.limit, machine.cpu.segments.fs.limit] == [0xFFFF, 0xFFFF]
    assert machine.cpu.regs.rsp == STACK0


@pytest.mark.judges("LGDT", "SGDT", "LIDT", "SIDT")
def test_table_registers_come_back_as_they_were_loaded(machine: Machine) -> None:
    operands = struct.pack("<HIHI", 0x1FF, 0x800, 0x3FF, 0x1234_5678)
    machine.put(AT, operands)
    done(machine, "lgdt [0x5000]; lidt [0x5006]; sgdt [0x5010]; sidt [0x5016]")
    assert bytes(machine.ram[AT + 0x10 : AT + 0x1C]) == operands


@pytest.mark.judges("LLDT", "SLDT", "STR")
def test_selectors_of_table_and_task(machine: Machine) -> None:
    done(machine, f"mov eax, {LOCAL}; lldt ax; sldt ebx; sldt [0x5000]; str ecx; str [0x5002]")
    assert (machine.cpu.regs.rbx, machine.cpu.regs.rcx) == (LOCAL, TASK)
    assert machine.words(AT, 2, 2) == [LOCAL, TASK]


@pytest.mark.judges("LMSW", "SMSW", "CLTS")
def test_the_machine_status_word(machine: Machine) -> None:
    before = machine.cpu.regs.cr0 & 0xFFFF
    done(machine, "smsw ax; or eax, 8; lmsw ax; smsw bx; smsw [0x5000]; clts; smsw cx; xor eax, eax; lmsw ax")
    regs = machine.cpu.regs
    assert (regs.rbx & 0xFFFF, *machine.words(AT, 1, 2)) == (before | 8, before | 8)
    assert regs.rcx & 0xFFFF == before & ~8
    assert regs.cr0 & 1, "LMSW clears PE"


@pytest.mark.judges("MOV cr ry", "MOV ry cr", "MOV dr ry", "MOV ry dr", "RDMSR", "WRMSR")
def test_control_debug_and_model_specific_registers(machine: Machine) -> None:
    done(
        machine,
        "mov eax, 0x12345000; mov cr2, eax; mov ebx, cr2; mov eax, 0x5555; mov dr1, eax; mov esi, dr1;"
        "mov ecx, 0x175; mov eax, 0x89abcdef; xor edx, edx; wrmsr; xor eax, eax; rdmsr",
    )
    regs = machine.cpu.regs
    assert (regs.rbx, regs.rsi, regs.rax, regs.rdx) == (0x1234_5000, 0x5555, 0x89AB_CDEF, 0)
    assert machine.cpu.msrs[0x175] == 0x89AB_CDEF


@pytest.mark.judges("LAR rv rv", "LAR rv m16", "LSL rv rv", "LSL rv m16", "VERR", "VERW")
def test_a_selector_is_asked_about(machine: Machine) -> None:
    machine.put(AT, struct.pack("<H", DATA16))
    done(
        machine,
        f"mov edx, {DATA16}; lar eax, edx; lar ebx, word ptr [0x5000]; lsl ecx, edx; lsl esi, word ptr [0x5000];"
        f"mov edx, {CODE0}; verr dx; setz dl; mov edi, {CODE0}; verw di; setz dh",
    )
    regs = machine.cpu.regs
    assert (regs.rax, regs.rbx) == (0x9300, 0x9300)
    assert (regs.rcx, regs.rsi) == (0xFFFF, 0xFFFF)
    assert regs.rdx & 0xFFFF == 0x0001, "code can be read, not written"


@pytest.mark.parametrize(
    ("text", "pushed"),
    [
        pytest.param("jmp fword ptr [0x5000]", [], marks=pytest.mark.judges("JMP m")),
        pytest.param("call fword ptr [0x5000]", [CODE + 6, CODE0], marks=pytest.mark.judges("CALL m")),
    ],
)
def test_far_transfers_through_memory(machine: Machine, text: str, pushed: list[int]) -> None:
    machine.put(AT, struct.pack("<IH", INNER, CODE0))
    machine.code("hlt", INNER)
    machine.code(text)
    machine.run()
    assert machine.cpu.regs.rip == INNER + 1
    assert machine.frame(len(pushed)) == pushed


@pytest.mark.judges("SYSCALL", "SYSRET", "SWAPGS")
def test_syscall_and_back(long_machine: Machine) -> None:
    machine, base = long_machine, 0x98 - 16
    star, lstar, mask, kernel_gs, efer = 0xC000_0081, 0xC000_0082, 0xC000_0084, 0xC000_0102, 0xC000_0080
    for number, value in ((star, base << 48 | CODE64 << 32), (lstar, INNER), (mask, 1), (kernel_gs, 0x7777_0000)):
        machine.cpu.msrs[number] = value
    machine.cpu.msrs[efer] |= 1
    machine.code("setc bl; mov rsi, rcx; mov rdi, r11; swapgs; sysretq", INNER, 64)
    machine.code("stc; syscall; hlt", bits=64)  # HLT is #GP in level 3
    user(machine)
    machine.run()
    regs = machine.cpu.regs
    assert (regs.rbx & 0xFF, regs.rsi) == (0, CODE + 3), "CF is masked, RCX is where to go on"
    assert regs.rdi & 1, "R11 has the flags from before"
    assert machine.cpu.segments.gs.base == 0x7777_0000
    assert machine.frame(3, 8) == [0, CODE + 3, (base + 16) | 3]


@pytest.mark.parametrize(
    ("text", "port", "size"),
    [
        pytest.param("out 0x10, al", 0x10, 1, marks=pytest.mark.judges("OUT i r8")),
        pytest.param("out 0x10, ax", 0x10, 2, marks=pytest.mark.judges("OUT i r16")),
        pytest.param("out 0x10, eax", 0x10, 4, marks=pytest.mark.judges("OUT i r32")),
        pytest.param("out dx, al", 0x1234, 1, marks=pytest.mark.judges("OUT r16 r8")),
        pytest.param("out dx, ax", 0x1234, 2, marks=pytest.mark.judges("OUT r16 r16")),
        pytest.param("out dx, eax", 0x1234, 4, marks=pytest.mark.judges("OUT r16 r32")),
        pytest.param("outsb", 0x1234, 1, marks=pytest.mark.judges("OUTSB")),
        pytest.param("outsw", 0x1234, 2, marks=pytest.mark.judges("OUTSW")),
        pytest.param("outsd", 0x1234, 4, marks=pytest.mark.judges("OUTSD")),
    ],
)
def test_ports_are_written(machine: Machine, text: str, port: int, size: int) -> None:
    value = 0x8765_4321
    machine.put(AT, struct.pack("<I", value))
    regs = machine.cpu.regs
    regs.rax, regs.rdx, regs.rsi = value, 0x1234, AT
    machine.code(f"{text}; hlt")
    stopped, cut = machine.cpu.run(), value & ((1 << 8 * size) - 1)
    assert stopped in (PortOut(port, size, cut), PortOutMany(port, size, cut.to_bytes(size, "little")))
    assert regs.rsi == (AT + size if "outs" in text else AT)
    assert machine.cpu.run() == Halted()


@pytest.mark.parametrize(
    ("text", "port", "size"),
    [
        pytest.param("in al, 0x10", 0x10, 1, marks=pytest.mark.judges("IN r8 i")),
        pytest.param("in ax, 0x10", 0x10, 2, marks=pytest.mark.judges("IN r16 i")),
        pytest.param("in eax, 0x10", 0x10, 4, marks=pytest.mark.judges("IN r32 i")),
        pytest.param("in al, dx", 0x1234, 1, marks=pytest.mark.judges("IN r8 r16")),
        pytest.param("in ax, dx", 0x1234, 2, marks=pytest.mark.judges("IN r16 r16")),
        pytest.param("in eax, dx", 0x1234, 4, marks=pytest.mark.judges("IN r32 r16")),
        pytest.param("insb", 0x1234, 1, marks=pytest.mark.judges("INSB")),
        pytest.param("insw", 0x1234, 2, marks=pytest.mark.judges("INSW")),
        pytest.param("insd", 0x1234, 4, marks=pytest.mark.judges("INSD")),
    ],
)
def test_ports_are_read(machine: Machine, text: str, port: int, size: int) -> None:
    regs = machine.cpu.regs
    regs.rax, regs.rdx, regs.rdi = 0xAAAA_AAAA, 0x1234, AT
    machine.put(AT, b"\xaa" * 4)
    machine.code(f"{text}; hlt")
    assert machine.cpu.run() == PortIn(port, size, 1)
    machine.cpu.answer(0x8765_4321 & ((1 << 8 * size) - 1))
    assert machine.cpu.run() == Halted()
    want = b"\x21\x43\x65\x87"[:size] + b"\xaa" * (4 - size)
    got = bytes(machine.ram[AT : AT + 4]) if "ins" in text else regs.rax.to_bytes(4, "little")
    assert got == want
    assert regs.rdi == (AT + size if "ins" in text else AT)


@pytest.mark.judges("CLI", "STI", "HLT", "INVD", "WBINVD")
def test_the_interrupt_flag_and_what_a_guest_cannot_see(machine: Machine) -> None:
    done(machine, "sti; pushfd; pop ebx; cli; pushfd; pop ecx; invd; wbinvd")
    assert (machine.cpu.regs.rbx & 0x200, machine.cpu.regs.rcx & 0x200) == (0x200, 0)


@pytest.mark.judges("INT1")
def test_int1_is_a_debug_exception_whatever_the_gate_s_level(machine: Machine) -> None:
    machine.code(".byte 0xf1")
    machine.at_level(3)
    machine.run()
    assert (machine.halted_in(), machine.frame(1)) == (1, [CODE + 1])


@pytest.mark.judges("VMCALL")
def test_vmcall_is_an_exit(machine: Machine) -> None:
    length = machine.code("vmcall; hlt")
    assert isinstance(machine.cpu.run(), Hypercall)
    assert machine.cpu.regs.rip == CODE + length - 1


@pytest.mark.judges("BSWAP r16")
def test_bswap_of_16_bits_clears_them(machine: Machine) -> None:
    """The manual leaves it undefined; processors do this."""
    machine.cpu.regs.rbx = 0x1234_5678
    done(machine, ".byte 0x66, 0x0f, 0xcb")
    assert machine.cpu.regs.rbx == 0x1234_0000


@pytest.mark.judges("CPUID", "RDTSC", "RDTSCP")
def test_identity_and_time(machine: Machine) -> None:
    machine.cpu.msrs[0xC000_0103] = 0x4321
    done(
        machine,
        "rdtsc; mov esi, eax; mov edi, edx; rdtscp; mov ebp, ecx; sub eax, esi; sbb edx, edi; mov edi, edx;"
        "xor eax, eax; cpuid",
    )
    regs = machine.cpu.regs
    assert regs.rbp == 0x4321
    assert regs.rdi in (0, 1), "time goes on"
    assert struct.pack("<III", regs.rbx, regs.rdx, regs.rcx).isascii()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("0f01c2", marks=pytest.mark.judges("VMLAUNCH")),
        pytest.param("0f01c3", marks=pytest.mark.judges("VMRESUME")),
        pytest.param("0f01c4", marks=pytest.mark.judges("VMXOFF")),
        pytest.param("660fc73500500000", marks=pytest.mark.judges("VMCLEAR")),
        pytest.param("0fc73500500000", marks=pytest.mark.judges("VMPTRLD")),
        pytest.param("0fc73d00500000", marks=pytest.mark.judges("VMPTRST")),
        pytest.param("f30fc73500500000", marks=pytest.mark.judges("VMXON")),
        pytest.param("0f78c3", marks=pytest.mark.judges("VMREAD")),
        pytest.param("0f79c3", marks=pytest.mark.judges("VMWRITE")),
        pytest.param("660f388005 00500000", marks=pytest.mark.judges("INVEPT")),
        pytest.param("660f388105 00500000", marks=pytest.mark.judges("INVVPID")),
    ],
)
def test_a_guest_has_no_vmx(machine: Machine, code: str) -> None:
    """CPUID announces none, so that they are #UD; that they are exits in Apple's manner the promises judge."""
    machine.put(CODE, bytes.fromhex(code))
    machine.run()
    assert (machine.halted_in(), machine.frame(1)) == (6, [CODE])
