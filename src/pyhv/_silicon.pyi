"""The software CPU, as the binding shows it to `pyhv.engines.soft`. No rule of the framework lives here."""

from typing import Final, overload

from typing_extensions import Buffer

from .exits import Exit

class HostMemory:
    """Host memory with the buffer protocol: anonymous pages of our own, or a buffer kept alive. `Mapping` derives."""

    @staticmethod
    def allocate(size: int) -> HostMemory: ...
    @staticmethod
    def over(buffer: Buffer) -> HostMemory: ...
    def __init__(self, buffer: Buffer | None, size: int) -> None: ...  # None: `size` bytes of zeroed anonymous pages
    @property
    def address(self) -> int: ...  # HVA of the first byte
    @property
    def readonly(self) -> bool: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __setitem__(self, key: int | slice, value: int | Buffer, /) -> None: ...
    def close(self) -> None: ...  # further access raises Closed; pages go when the last exported buffer goes

class Clock:
    """Time of one VM. Host time, or counted in executed instructions of its vCPUs (`ns_per_instruction` > 0)."""

    def __init__(self, ns_per_instruction: float = 0.0) -> None: ...
    @property
    def now_ns(self) -> int: ...
    @property
    def tsc_hz(self) -> int: ...

class GuestMemory:
    """The guest-physical address space of one VM: GPA pages to host pages, with rights. Safe from any thread.

    `perm` is READ 1 | WRITE 2 | EXEC 4. Addresses and sizes are whole pages of 4096 bytes; callers have checked them
    (here a misuse is a ValueError and changes nothing). unmap and protect return when no vCPU can touch the old pages.
    """

    GPA_BITS: Final[int]
    def map(self, gpa: int, host: int, size: int, perm: int) -> None: ...
    def unmap(self, gpa: int, size: int) -> None: ...
    def protect(self, gpa: int, size: int, perm: int) -> None: ...
    def mapped_bytes(self, gpa: int, size: int) -> int: ...  # how much of the range is mapped: 0 … size
    def lookup(self, gpa: int) -> tuple[int, int] | None: ...  # (host address of this byte, perm)
    def read(self, gpa: int, size: int) -> bytes: ...  # LookupError where a page is not mapped
    def write(self, gpa: int, data: Buffer) -> None: ...  # also what vCPUs decoded from there is dropped

class Cpu:
    """One virtual processor. Fresh: real mode, segment bases 0, limits 0xFFFF, RFLAGS 2, RIP 0.

    `raw` is Apple's manner: every exit leaves RIP on the instruction, nothing is posted or answered, CPUID and XSETBV
    always exit, the VMCS controls decide the rest, and the details are read from the VMCS.
    """

    def __init__(self, memory: GuestMemory, clock: Clock, index: int = 0, raw: bool = False) -> None: ...

    # Running. The GIL is released. On the main thread runs are cut in slices of 20 ms to let Ctrl-C through.
    def run(self, deadline_ns: int | None = None, budget: int | None = None) -> Exit: ...  # deadline: on the VM's clock
    def run_raw(self, deadline_ns: int | None = None) -> int: ...  # basic exit reason (with bit 31 for a failed entry)
    def step(self) -> Exit: ...  # MonitorTrap after one instruction
    def finish(self) -> Exit | None: ...  # complete the answered instruction only; None: done, else its next piece
    def kick(self) -> None: ...  # any thread; sticky
    def send_init(self) -> None: ...  # any thread; taken at the next boundary within a run
    def send_start_up(self, vector: int) -> None: ...  # code at `vector` << 12; ignored unless INIT came before
    def close(self, why: str, kick: bool = True) -> None: ...  # later uses raise Closed; a run now ends with Kicked
    def answer(self, value: int | bytes | None = None) -> None: ...
    def refuse(self) -> None: ...
    @property
    def running(self) -> bool: ...
    @property
    def unanswered(self) -> bool: ...  # the last exit waits for answer()

    # State; ids are those of spec/api: HV_X86_* registers, VMCS field encodings, MSR numbers. Unknown: KeyError.
    def read_register(self, reg: int) -> int: ...
    def write_register(self, reg: int, value: int) -> None: ...
    def read_vmcs(self, field: int) -> int: ...
    def write_vmcs(self, field: int, value: int) -> None: ...
    def read_msr(self, msr: int) -> int: ...
    def write_msr(self, msr: int, value: int) -> None: ...
    def msr_exits(self, msr: int, exits: bool) -> None: ...  # this MSR's RDMSR and WRMSR leave as MsrRead and MsrWrite
    def unknown_msr_exits(self, exits: bool) -> None: ...  # False: #GP(0)
    def cpuid_exits(self, exits: bool) -> None: ...  # True: CPUID leaves as Cpuid; raw vCPUs always do
    def read_xsave(self) -> bytes: ...
    def write_xsave(self, image: bytes) -> None: ...
    def read_unfinished(self) -> bytes: ...  # the answered pieces of the unfinished instruction; empty: none
    def write_unfinished(self, image: bytes) -> None: ...
    # leaf, subleaf, eax, ebx, ecx, edx
    def set_cpuid(self, leaves: list[tuple[int, int, int, int, int, int]]) -> None: ...
    def get_cpuid(self) -> list[tuple[int, int, int, int, int, int]]: ...
    def capability(self, word: int) -> int: ...  # HV_VMX_CAP_*
    def inject(self, vector: int, error_code: int | None, kind: int) -> None: ...  # kind: VMX interruption type
    def translate(self, gva: int, write: bool = False) -> int | None: ...  # GPA; None where the guest would fault
    def invalidate_tlb(self) -> None: ...
    def reset(self) -> None: ...  # the SDM's state after RESET
    def trace(self, keep: int) -> None: ...  # remember the RIPs of the last `keep` instructions (0: off; slows down)
    def traced(self) -> list[tuple[int, int, int]]: ...  # oldest first: (linear RIP, CS base, mode in bits)
    def recent(self) -> list[tuple[int, int, int]]: ...  # the last blocks, always: (linear RIP, bits, instructions)

    # Figures.
    @property
    def instructions(self) -> int: ...
    @property
    def exec_time_ns(self) -> int: ...
    def stats(self) -> dict[str, int]: ...

def default_cpuid() -> list[tuple[int, int, int, int, int, int]]: ...
def disassemble(code: bytes, address: int, bits: int) -> list[tuple[int, int, str]]: ...  # (address, length, text)
