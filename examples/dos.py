"""Run a DOS .COM program with Apple's functions: python dos.py PROGRAM.COM [arguments]

The interrupt table is made too small for any vector, and all exceptions exit: so INT n becomes an exit whose
IDT-vectoring information holds n, with RIP still on the INT. The program below answers it and moves RIP on.
"""

# ruff: noqa: F405 - the names are Apple's, and come all at once
from __future__ import annotations

import mmap
import sys
from pathlib import Path

from pyhv.framework.intel import *  # noqa: F403 - Apple's names, all of them

MEMORY_BYTES = 1 << 20
PROGRAM_SEGMENT = 0x100
CONTROLS = {
    VMCS_CTRL_PIN_BASED: (HV_VMX_CAP_PINBASED, 0),
    VMCS_CTRL_CPU_BASED: (HV_VMX_CAP_PROCBASED, CPU_BASED_HLT | CPU_BASED_CR8_LOAD | CPU_BASED_CR8_STORE),
    VMCS_CTRL_CPU_BASED2: (HV_VMX_CAP_PROCBASED2, 0),
    VMCS_CTRL_VMENTRY_CONTROLS: (HV_VMX_CAP_ENTRY, 0),
}
CODE_RIGHTS, DATA_RIGHTS, LDT_RIGHTS, TASK_RIGHTS = 0x9B, 0x93, 0x10000, 0x83
CARRY = 1
SOFTWARE_INTERRUPT = 4 << 8
VALID = 1 << 31
FILE_NOT_FOUND, BAD_HANDLE = 2, 6


class Dos:
    """One program in one VM. `run()` returns its exit code."""

    def __init__(self, path: Path, arguments: str) -> None:
        self.directory = path.parent
        self.files: dict[int, bytearray] = {}
        self.memory = mmap.mmap(-1, MEMORY_BYTES)
        self.load(path.read_bytes(), arguments.encode("cp437"))
        hv_vm_create(HV_VM_DEFAULT)
        hv_vm_map(self.memory, 0, MEMORY_BYTES, HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC)
        self.vcpu = hv_vcpu_create(HV_VCPU_DEFAULT)
        self.set_up()

    def load(self, image: bytes, arguments: bytes) -> None:
        """The program behind its prefix, whose last 128 bytes are the command tail."""
        prefix = PROGRAM_SEGMENT << 4
        self.memory[prefix : prefix + 2] = b"\xcd\x20"
        tail = b" " + arguments if arguments else b""
        self.memory[prefix + 0x80 : prefix + 0x82 + len(tail)] = bytes((len(tail),)) + tail + b"\r"
        self.memory[prefix + 0x100 : prefix + 0x100 + len(image)] = image

    def set_up(self) -> None:
        """Controls as the capabilities allow, then real mode with every segment on the program's."""
        for field, (capability, wanted) in CONTROLS.items():
            word = hv_vmx_read_capability(capability)
            self.write(field, (wanted | word & 0xFFFF_FFFF) & word >> 32)
        self.write(VMCS_CTRL_EXC_BITMAP, 0xFFFF_FFFF)
        for name in ("CS", "DS", "ES", "SS", "FS", "GS"):
            names = globals()
            self.write(names[f"VMCS_GUEST_{name}"], PROGRAM_SEGMENT)
            self.write(names[f"VMCS_GUEST_{name}_BASE"], PROGRAM_SEGMENT << 4)
            self.write(names[f"VMCS_GUEST_{name}_LIMIT"], 0xFFFF)
            self.write(names[f"VMCS_GUEST_{name}_AR"], CODE_RIGHTS if name == "CS" else DATA_RIGHTS)
        for field, value in (
            (VMCS_GUEST_LDTR_AR, LDT_RIGHTS),
            (VMCS_GUEST_TR_AR, TASK_RIGHTS),
            (VMCS_GUEST_TR_LIMIT, 0xFFFF),
            (VMCS_GUEST_GDTR_LIMIT, 0),
            (VMCS_GUEST_IDTR_LIMIT, 0),
            (VMCS_GUEST_CR0, 0x20),
            (VMCS_GUEST_CR4, 0x2000),
        ):
            self.write(field, value)
        for register, value in ((HV_X86_RIP, 0x100), (HV_X86_RFLAGS, 2), (HV_X86_RSP, 0xFFFE)):
            hv_vcpu_write_register(self.vcpu, register, value)

    def run(self) -> int:
        """To the program's end."""
        try:
            while True:
                hv_vcpu_run(self.vcpu)
                reason = hv_vmx_vcpu_read_vmcs(self.vcpu, VMCS_RO_EXIT_REASON)
                if reason in (VMX_REASON_IRQ, VMX_REASON_EPT_VIOLATION):
                    continue  # the host was interrupted, or memory was touched for the first time
                vectoring = hv_vmx_vcpu_read_vmcs(self.vcpu, VMCS_RO_IDT_VECTOR_INFO)
                if reason != VMX_REASON_EXC_NMI or vectoring & (VALID | 0x700) != VALID | SOFTWARE_INTERRUPT:
                    raise SystemExit(f"exit {reason} at IP {self.get(HV_X86_RIP):#x}, which no DOS answers")
                code = self.interrupt(vectoring & 0xFF)
                if code is not None:
                    return code
                hv_vcpu_write_register(self.vcpu, HV_X86_RIP, self.get(HV_X86_RIP) + 2)
        finally:
            sys.stdout.flush()
            hv_vcpu_destroy(self.vcpu)
            hv_vm_destroy()

    def interrupt(self, vector: int) -> int | None:
        """INT 20h and INT 21h; an exit code ends the program."""
        ax, bx, cx, dx = (self.get(r) & 0xFFFF for r in (HV_X86_RAX, HV_X86_RBX, HV_X86_RCX, HV_X86_RDX))
        match vector, ax >> 8:
            case (0x20, _) | (0x21, 0x00):
                return 0
            case (0x21, 0x4C):
                return ax & 0xFF
            case (0x21, 0x02):
                self.put(bytes((dx & 0xFF,)))
            case (0x21, 0x09):
                self.put(self.text(dx, b"$"))
            case (0x21, 0x0A):
                self.read_line(dx)
            case (0x21, 0x30):
                self.done(5)
            case (0x21, 0x3D):
                self.open(self.text(dx, b"\0").decode("cp437"))
            case (0x21, 0x3E):
                self.done(ax) if self.files.pop(bx, None) is not None else self.fail(BAD_HANDLE)
            case (0x21, 0x3F) if bx in self.files:
                data, self.files[bx] = self.files[bx][:cx], self.files[bx][cx:]
                self.memory[self.at(dx) : self.at(dx) + len(data)] = data
                self.done(len(data))
            case (0x21, 0x40) if bx in (1, 2):
                self.put(self.memory[self.at(dx) : self.at(dx) + cx])
                self.done(cx)
            case (0x21, 0x3F | 0x40):
                self.fail(BAD_HANDLE)
            case _:
                raise SystemExit(f"INT {vector:02X}h, AX={ax:04X}h: this small DOS does not answer it")
        return None

    def open(self, name: str) -> None:
        """A file beside the program, whole, for reading."""
        found = next((p for p in self.directory.iterdir() if p.name.upper() == name.upper() and p.is_file()), None)
        if found is None:
            self.fail(FILE_NOT_FOUND)
            return
        handle = min(set(range(5, 21)) - set(self.files))
        self.files[handle] = bytearray(found.read_bytes())
        self.done(handle)

    def read_line(self, offset: int) -> None:
        line = sys.stdin.readline().rstrip("\n").encode("cp437", "replace")[: self.memory[self.at(offset)] - 1]
        self.memory[self.at(offset) + 1 : self.at(offset) + 3 + len(line)] = bytes((len(line),)) + line + b"\r"

    def put(self, data: bytes) -> None:
        sys.stdout.write(data.decode("cp437").replace("\r\n", "\n"))

    def text(self, offset: int, end: bytes) -> bytes:
        return self.memory[self.at(offset) : self.memory.find(end, self.at(offset))]

    def at(self, offset: int) -> int:
        """DS:offset as a guest-physical address."""
        return hv_vmx_vcpu_read_vmcs(self.vcpu, VMCS_GUEST_DS_BASE) + offset

    def done(self, ax: int) -> None:
        self.finish(ax, carry=0)

    def fail(self, code: int) -> None:
        self.finish(code, carry=CARRY)

    def finish(self, ax: int, carry: int) -> None:
        """AX and the carry flag, where DOS puts its answer; the upper bits of RAX stay."""
        hv_vcpu_write_register(self.vcpu, HV_X86_RAX, self.get(HV_X86_RAX) & ~0xFFFF | ax)
        hv_vcpu_write_register(self.vcpu, HV_X86_RFLAGS, self.get(HV_X86_RFLAGS) & ~CARRY | carry)

    def get(self, register: int) -> int:
        return hv_vcpu_read_register(self.vcpu, register)

    def write(self, field: int, value: int) -> None:
        hv_vmx_vcpu_write_vmcs(self.vcpu, field, value)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    raise SystemExit(Dos(Path(sys.argv[1]), " ".join(sys.argv[2:])).run())
