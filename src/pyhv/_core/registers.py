"""`cpu.regs`: registers as attributes. A read goes from the attribute to the engine without a Python frame between."""

from __future__ import annotations

from operator import index, methodcaller
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar

from ..arch.x86_64.layouts import Cr0, Cr4, RFlags
from ..arch.x86_64.registers import CONTROL, DEBUG, GENERAL, Reg
from .checks import U64, integer

if TYPE_CHECKING:
    from ..engines.base import EngineVcpu
    from .closed import ClosedEngine

T = TypeVar("T", bound=int)


def _whole(value: SupportsIndex, name: str) -> int:
    number = index(value)
    if not 0 <= number <= U64:
        integer(name, number)  # says what would do
    return number


class _Register(property, Generic[T]):
    """A register of 64 bits, by its id."""

    if TYPE_CHECKING:

        def __get__(self, regs: Any, owner: type | None = None, /) -> T: ...  # type: ignore[override]
        def __set__(self, regs: Any, value: SupportsIndex, /) -> None: ...


def _register(reg: Reg) -> _Register[int]:
    number, name = int(reg), reg.name

    def write(regs: Registers, value: SupportsIndex) -> None:
        regs.write_register(number, _whole(value, name))

    return _Register(methodcaller("read_register", number), write, doc=f"{name}, 64 bits.")


def _typed(reg: Reg, kind: type[T]) -> _Register[T]:
    number, name = int(reg), reg.name

    def read(regs: Registers) -> T:
        return kind(regs.read_register(number))

    def write(regs: Registers, value: SupportsIndex) -> None:
        regs.write_register(number, _whole(value, name))

    return _Register(read, write, doc=f"{name} with its bits by name; write a number or `.replace(...)` of it.")


def _part(reg: Reg, name: str, width: int, shift: int = 0) -> _Register[int]:
    """The low part of a register, or bits 15:8. Writing 32 bits clears the upper half, as in 64-bit mode.

    Less keeps the rest.
    """
    number, mask = int(reg), ((1 << width) - 1) << shift
    keep = 0 if width == 32 else U64 & ~mask

    def read(regs: Registers) -> int:
        return (regs.read_register(number) & mask) >> shift

    def write(regs: Registers, value: SupportsIndex) -> None:
        part = integer(name, value, high=mask >> shift) << shift
        regs.write_register(number, part | (regs.read_register(number) & keep if keep else 0))

    return _Register(read, write, doc=f"Bits {width + shift - 1}:{shift} of {reg.name}.")


def _flag(name: str) -> _Register[bool]:
    field = RFlags.fields[name]

    def read(regs: Registers) -> bool:
        return regs.read_register(Reg.RFLAGS) & field.mask != 0

    def write(regs: Registers, value: SupportsIndex) -> None:
        bit = integer(name, value, high=1)
        regs.write_register(Reg.RFLAGS, field.insert(regs.read_register(Reg.RFLAGS), bit))

    return _Register(read, write, doc=f"RFLAGS.{name.rstrip('_').upper()}.")


class Registers:
    """The registers of one vCPU. SDM vol. 1, "Basic Program Execution Registers"; vol. 3A, "Control Registers".

    Values are unsigned; what does not fit is BadArgument. `eax = x` clears the upper half of RAX, as the processor
    does in 64-bit mode; `ax`, `al` and `ah` keep the rest. `rflags`, `cr0` and `cr4` are ints with their bits by
    name.
    """

    __slots__ = ("read_register", "write_register")

    def __init__(self, engine: EngineVcpu) -> None:
        self.read_register = engine.read_register
        self.write_register = engine.write_register

    def close(self, closed: ClosedEngine) -> None:
        """Every further use says why not."""
        self.read_register = closed.fail
        self.write_register = closed.fail

    rip = _register(Reg.RIP)
    rax, rbx, rcx, rdx = _register(Reg.RAX), _register(Reg.RBX), _register(Reg.RCX), _register(Reg.RDX)
    rsi, rdi, rsp, rbp = _register(Reg.RSI), _register(Reg.RDI), _register(Reg.RSP), _register(Reg.RBP)
    r8, r9, r10, r11 = _register(Reg.R8), _register(Reg.R9), _register(Reg.R10), _register(Reg.R11)
    r12, r13, r14, r15 = _register(Reg.R12), _register(Reg.R13), _register(Reg.R14), _register(Reg.R15)
    eip = _part(Reg.RIP, "eip", 32)
    ip = _part(Reg.RIP, "ip", 16)

    eax, ebx = _part(Reg.RAX, "eax", 32), _part(Reg.RBX, "ebx", 32)
    ecx, edx = _part(Reg.RCX, "ecx", 32), _part(Reg.RDX, "edx", 32)
    esi, edi = _part(Reg.RSI, "esi", 32), _part(Reg.RDI, "edi", 32)
    esp, ebp = _part(Reg.RSP, "esp", 32), _part(Reg.RBP, "ebp", 32)
    r8d, r9d = _part(Reg.R8, "r8d", 32), _part(Reg.R9, "r9d", 32)
    r10d, r11d = _part(Reg.R10, "r10d", 32), _part(Reg.R11, "r11d", 32)
    r12d, r13d = _part(Reg.R12, "r12d", 32), _part(Reg.R13, "r13d", 32)
    r14d, r15d = _part(Reg.R14, "r14d", 32), _part(Reg.R15, "r15d", 32)

    ax, bx, cx, dx = (_part(Reg[f"R{name}"], name.lower(), 16) for name in ("AX", "BX", "CX", "DX"))
    si, di, sp, bp = (_part(Reg[f"R{name}"], name.lower(), 16) for name in ("SI", "DI", "SP", "BP"))
    al, bl, cl, dl = (_part(Reg[f"R{letter}X"], f"{letter.lower()}l", 8) for letter in "ABCD")
    ah, bh, ch, dh = (_part(Reg[f"R{letter}X"], f"{letter.lower()}h", 8, 8) for letter in "ABCD")
    sil, dil = _part(Reg.RSI, "sil", 8), _part(Reg.RDI, "dil", 8)
    spl, bpl = _part(Reg.RSP, "spl", 8), _part(Reg.RBP, "bpl", 8)

    rflags = _typed(Reg.RFLAGS, RFlags)
    cf, pf, af, zf = _flag("cf"), _flag("pf"), _flag("af"), _flag("zf")
    sf, tf, df, of = _flag("sf"), _flag("tf"), _flag("df"), _flag("of")
    if_ = _flag("if_")

    cr0, cr4 = _typed(Reg.CR0, Cr0), _typed(Reg.CR4, Cr4)
    cr2, cr3 = _register(Reg.CR2), _register(Reg.CR3)
    dr0, dr1, dr2, dr3 = _register(Reg.DR0), _register(Reg.DR1), _register(Reg.DR2), _register(Reg.DR3)
    dr6, dr7 = _register(Reg.DR6), _register(Reg.DR7)
    xcr0, tpr = _register(Reg.XCR0), _register(Reg.TPR)

    @property
    def cr8(self) -> int:
        """The task priority class, 0 to 15: bits 7:4 of the TPR."""
        return self.read_register(Reg.TPR) >> 4

    @cr8.setter
    def cr8(self, value: SupportsIndex) -> None:
        self.write_register(Reg.TPR, integer("cr8", value, high=15) << 4)

    def as_dict(self) -> dict[str, int]:
        """General, control and debug registers by name."""
        return {reg.name.lower(): self.read_register(reg) for reg in (*GENERAL, *CONTROL, *DEBUG)}

    def __repr__(self) -> str:
        shown = self.as_dict()
        names = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip")
        rows = [names[row : row + 4] for row in range(0, len(names), 4)]
        lines = ["  ".join(f"{name:>3} {shown[name]:016x}" for name in row) for row in rows]
        controls = "  ".join(f"{name} {shown[name]:x}" for name in ("cr0", "cr2", "cr3", "cr4"))
        return "\n".join((*lines, repr(RFlags(shown["rflags"])), controls))
