"""What the bare processor cannot say of the x87 unit: pending exceptions, faults, images, devices, modes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from pyhv import AccessRights, Halted, MmioLoad, MmioStore, Segment, VCpu, VirtualMachine
from pyhv import Exception as ExceptionExit

UD, NM, GP, MF = 6, 7, 13, 16
EM, TS, NE, PE_ET = 1 << 2, 1 << 3, 1 << 5, 0x11
CODE, DATA, DEVICE = 0x1000, 0x2000, 0x1000_0000
ONE, ZERO = "d9e8", "d9ee"
DIVIDE_ONE_BY_ZERO = "d9e8 d9ee def9"  # FLD1, FLDZ, FDIVP
ALL_UNMASKED = 0x340
# On [ESI]. FLD m32, FADD m64, FILD m16, FISTP m32, FSTP m80, FLDCW, FLDENV, FRSTOR; then on registers.
WAITING = ["d906", "dc06", "df06", "db1e", "db3e", "d92e", "d926", "dd26"]
WAITING += ["9b", "d9e8", "d8c1", "d9c9", "dbf1", "dac1", "d9e0", "d9f7", "d9d0", "d9fe", "d9e4", "ddc0"]
# FNSTCW, FNSTSW, FNSTSW AX, FNCLEX, FNSTENV, FNSAVE, FNINIT
NOT_WAITING = ["d93e", "dd3e", "dfe0", "dbe2", "d936", "dd36", "dbe3"]


@pytest.fixture
def cpu() -> Iterator[VCpu]:
    with VirtualMachine("soft") as vm:
        vm.map(at=0, size=0x10000)
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            cpu.regs.cr0 = PE_ET | NE
            cpu.controls.exception_bitmap = 1 << UD | 1 << NM | 1 << GP | 1 << MF
            yield cpu


def run(cpu: VCpu, code: str, operand: int = DATA) -> object:
    cpu.vm.write(CODE, bytes.fromhex(code) + b"\xf4")
    cpu.regs.rip, cpu.regs.rsi = CODE, operand
    stopped = cpu.run()
    return stopped.vector if isinstance(stopped, ExceptionExit) else stopped


def set_control(cpu: VCpu, control: int) -> None:
    cpu.vm.write(DATA, control.to_bytes(2, "little"))
    assert run(cpu, "dbe3 d92e") == Halted()  # FNINIT, FLDCW


def fx(cpu: VCpu) -> tuple[int, int, int, int, int, int]:
    """FCW, FSW, abridged tags, FOP, FIP, FDP."""
    control, status, tags, opcode, ip, dp = struct.unpack_from("<HHBxHQQ", cpu.state.xsave)
    return control, status, tags, opcode, ip, dp


def unmapped_to_data(cpu: VCpu) -> int:
    """DS gets a limit; an address behind it is #GP."""
    cpu.segments.ds = Segment(0x10, 0, 0xFFFF, AccessRights(0x93).replace(db=1))
    return 0x2_0000


@pytest.mark.parametrize("code", WAITING)
def test_a_pending_exception_comes_first(cpu: VCpu, code: str) -> None:
    """SDM vol. 3, "x87 FPU Floating-Point Error (#MF)": before faults of the operand too."""
    set_control(cpu, ALL_UNMASKED)
    assert run(cpu, DIVIDE_ONE_BY_ZERO) == Halted()
    before = cpu.state.xsave
    assert run(cpu, code, unmapped_to_data(cpu)) == MF
    assert cpu.regs.rip == CODE
    assert cpu.state.xsave == before


@pytest.mark.parametrize("code", NOT_WAITING)
def test_control_goes_by_a_pending_exception(cpu: VCpu, code: str) -> None:
    set_control(cpu, ALL_UNMASKED)
    assert run(cpu, DIVIDE_ONE_BY_ZERO) == Halted()
    assert run(cpu, code) == Halted()


def test_an_unmasked_division_leaves_its_operands(cpu: VCpu) -> None:
    set_control(cpu, ALL_UNMASKED)
    assert run(cpu, DIVIDE_ONE_BY_ZERO) == Halted()
    assert fx(cpu) == (ALL_UNMASKED, 0xB084, 0xC0, 0x6F9, CODE + 4, 0)
    assert cpu.state.xsave[32:42] == bytes(10)  # ST(0) is still zero, not popped


def test_without_ne_a_pending_exception_is_ignored(cpu: VCpu) -> None:
    set_control(cpu, ALL_UNMASKED)
    cpu.regs.cr0 = PE_ET
    assert run(cpu, DIVIDE_ONE_BY_ZERO + ONE + "d8c0") == Halted()  # … FLD1, FADD ST, ST
    _, status, tags, *_ = fx(cpu)
    assert (status, tags) == (0x80 | 0x8000 | 4 | 5 << 11, 0xE0)
    assert cpu.state.xsave[32:42] == struct.pack("<QH", 1 << 63, 0x4000)


def test_unmasking_makes_an_old_exception_pending(cpu: VCpu) -> None:
    assert run(cpu, DIVIDE_ONE_BY_ZERO) == Halted()
    assert fx(cpu)[1] & 0x80BF == 4
    cpu.vm.write(DATA, ALL_UNMASKED.to_bytes(2, "little"))
    assert run(cpu, "d92e" + "dfe0") == Halted()
    assert cpu.regs.rax & 0x80FF == 0x8084
    assert run(cpu, ONE) == MF


@pytest.mark.parametrize("store", ["d91e", "db1e", "dd1e", "df1e", "db3e", "df36", "dd0e"])
def test_a_store_that_faults_has_not_happened(cpu: VCpu, store: str) -> None:
    """Neither popped nor flagged; the flags of what the host has computed already do not come out later."""
    assert run(cpu, "dbe3 d9eb") == Halted()  # FLDPI: no format in memory but the one of 80 bits has all of it
    before = cpu.state.xsave
    assert run(cpu, store, unmapped_to_data(cpu)) == GP
    assert cpu.state.xsave == before
    assert run(cpu, "d9e0 dfe0") == Halted()  # FCHS, FNSTSW AX
    assert cpu.regs.rax & 0x3F == 0


def test_a_run_gives_the_hosts_control_word_back(cpu: VCpu) -> None:
    ctypes = pytest.importorskip("ctypes")
    libm = ctypes.CDLL("libm.so.6")
    libm.fegetround.restype = ctypes.c_int
    before = libm.fegetround()
    set_control(cpu, 0xC7F)
    assert run(cpu, ONE + "d9eb dec1") == Halted()
    assert libm.fegetround() == before


def test_cleared_flags_stay_cleared(cpu: VCpu) -> None:
    """FNCLEX, FNINIT and FLDENV take flags away that the host's unit still has."""
    third = "dbe3 d9e8 d9eb def9"  # 1/π
    assert run(cpu, third + "d936 dbe2 d9e8 d9e0 dfe0") == Halted()  # …, FNSTENV, FNCLEX, FLD1, FCHS, FNSTSW
    assert cpu.regs.rax & 0x3F == 0
    assert run(cpu, third + "dbe3 d9e8 d9fa dfe0") == Halted()  # …, FNINIT, FLD1, FSQRT, FNSTSW
    assert cpu.regs.rax & 0x3F == 0
    assert run(cpu, "dbe3 d936" + third + "d926 d9e8 d9fa dfe0") == Halted()
    assert cpu.regs.rax & 0x3F == 0


@pytest.mark.judges("FNSTENV")
def test_the_environment_in_protected_mode(cpu: VCpu) -> None:
    """SDM vol. 1, "Protected Mode x87 FPU State Image in Memory", both formats. FCS and FDS are deprecated."""
    cpu.vm.write(DATA + 0x100, struct.pack("<d", 1.5))
    assert run(cpu, "dbe3 dd8600010000 d9ee d936") == Halted()  # …, FLD [ESI+100h], FLDZ, FNSTENV
    half = 0xFFFF0000
    expected = (half | 0x37F, half | 6 << 11, half | 0x1FFF, CODE + 8, 0x1EE << 16, DATA + 0x100, half)
    assert struct.unpack("<7I", cpu.vm.read(DATA, 28)) == expected
    assert run(cpu, "66d936", DATA) == Halted()
    assert struct.unpack("<7H", cpu.vm.read(DATA, 14)) == (0x37F, 6 << 11, 0x1FFF, CODE + 8, 0, DATA + 0x100, 0)


def test_the_environment_in_real_mode(cpu: VCpu) -> None:
    """SDM vol. 1, "Real Mode x87 FPU State Image in Memory": the high bits of linear addresses beside the opcode."""
    cpu.vm.write(DATA + 0x100, struct.pack("<d", 1.5))
    cpu.regs.cr0 = 0x10 | NE
    cpu.segments.cs = Segment(0, 0, 0xFFFF, AccessRights(0x9B))
    assert run(cpu, "dbe3 dd840001 d9ee d934") == Halted()  # FLD [SI+100h], FLDZ, FNSTENV [SI]
    assert struct.unpack("<7H", cpu.vm.read(DATA, 14)) == (0x37F, 6 << 11, 0x1FFF, CODE + 6, 0x1EE, DATA + 0x100, 0)


@pytest.mark.judges("FNSAVE")
@pytest.mark.parametrize("prefix", ["", "66"])
def test_saved_state_comes_back(cpu: VCpu, prefix: str) -> None:
    assert run(cpu, "dbe3 d9eb d9e8 d9ee d9f7") == Halted()  # three numbers, one of them off the top
    control, status, tags, *_ = before = fx(cpu)
    registers = cpu.state.xsave[32:160]
    assert run(cpu, prefix + "dd36") == Halted()
    assert fx(cpu) == (0x37F, 0, 0, 0, 0, 0)
    assert run(cpu, prefix + "dd26") == Halted()
    after = fx(cpu)
    assert after[:3] == (control, status, tags)
    assert after[4:] == before[4:]
    assert after[3] == (before[3] if not prefix else 0)  # the opcode has no place in 16 bits
    assert cpu.state.xsave[32:160] == registers


def test_saving_masks_or_initialises(cpu: VCpu) -> None:
    set_control(cpu, ALL_UNMASKED)
    assert run(cpu, DIVIDE_ONE_BY_ZERO + "d936") == Halted()
    assert fx(cpu)[:2] == (0x37F, 6 << 11 | 4)
    assert struct.unpack_from("<HxxH", cpu.vm.read(DATA, 28)) == (ALL_UNMASKED, 0xB084)


def test_a_device_sees_two_pieces_of_80_bits(cpu: VCpu) -> None:
    assert run(cpu, "dbe3 d9eb") == Halted()
    low, high = struct.unpack("<QH", cpu.state.xsave[32:42])
    assert run(cpu, "db3e", DEVICE) == MmioStore(gpa=DEVICE, size_bytes=8, value=low)
    assert cpu.run() == MmioStore(gpa=DEVICE + 8, size_bytes=2, value=high)
    assert cpu.run() == Halted()
    assert fx(cpu)[2] == 0
    assert run(cpu, "db2e", DEVICE) == MmioLoad(gpa=DEVICE, size_bytes=8)
    cpu.answer(low)
    assert cpu.run() == MmioLoad(gpa=DEVICE + 8, size_bytes=2)
    assert fx(cpu)[2] == 0
    cpu.answer(high)
    assert cpu.run() == Halted()
    assert cpu.state.xsave[32:42] == struct.pack("<QH", low, high)


@pytest.mark.parametrize("code", WAITING[:8] + WAITING[9:] + NOT_WAITING)
def test_units_that_are_off_and_lock(cpu: VCpu, code: str) -> None:
    for off in (EM, TS, EM | TS):
        cpu.regs.cr0 = PE_ET | NE | off
        assert run(cpu, code) == NM
    cpu.regs.cr0 = PE_ET | NE
    assert run(cpu, "f0" + code) == UD
