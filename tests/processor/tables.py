"""A vCPU with page tables of any mode, and one page whose way through the tables a test changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pyhv import AccessRights, Cr0, Cr4, Efer, Exception, Exit, Mapping, Segment, VCpu, VirtualMachine, default_cpuid
from pyhv.arch.x86_64.vmcs import Vmcs

from .model import Access, Controls

PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, GLOBAL = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
NO_EXECUTE = 1 << 63
FULL = PRESENT | WRITABLE | USER
CODE = {0: 0x1000, 3: 0x2000}
"""A page of code for each ring: one a supervisor may execute under SMEP, one a user may."""
READ, WRITE = 0x100, 0x200  # within the page: mov al, [rbx]; mov [rbx], al
TABLES = 0x10_0000


@dataclass(frozen=True)
class Mode:
    """A paging mode, and the page size that is looked at: `page_level` is the level of the entry that maps the page."""

    name: str
    levels: int
    page_level: int
    linear: int
    frame: int

    @property
    def wide(self) -> bool:
        return self.levels > 2

    @property
    def long(self) -> bool:
        return self.levels > 3

    def shift(self, level: int) -> int:
        return 12 + (level - 1) * (9 if self.wide else 10)

    @property
    def page_bytes(self) -> int:
        return 1 << self.shift(self.page_level)

    def __str__(self) -> str:
        return self.name


MODES = (
    Mode("32-bit-4K", 2, 1, 0x4000_0000, 0x20_0000),
    Mode("32-bit-4M", 2, 2, 0x4000_0000, 0x40_0000),
    Mode("pae-4K", 3, 1, 0x4000_0000, 0x20_0000),
    Mode("pae-2M", 3, 2, 0x4000_0000, 0x20_0000),
    Mode("4-level-4K", 4, 1, 0x1234_4000_0000, 0x20_0000),
    Mode("4-level-2M", 4, 2, 0x1234_4000_0000, 0x20_0000),
    Mode("4-level-1G", 4, 3, 0x1234_4000_0000, 0x4000_0000),
    Mode("5-level-4K", 5, 1, 0xAB_1234_4000_0000, 0x20_0000),
    Mode("5-level-2M", 5, 2, 0xAB_1234_4000_0000, 0x20_0000),
    Mode("5-level-1G", 5, 3, 0xAB_1234_4000_0000, 0x4000_0000),
)


@dataclass
class Machine:
    """`entries[level]` is where the entry of that level for the page lies."""

    mode: Mode
    vm: VirtualMachine
    ram: Mapping
    cpu: VCpu
    entries: dict[int, int] = field(default_factory=dict)
    next_table: int = TABLES + 0x1000

    @property
    def entry_bytes(self) -> int:
        return 8 if self.mode.wide else 4

    def get(self, level: int) -> int:
        at = self.entries[level]
        return int.from_bytes(self.ram[at : at + self.entry_bytes], "little")

    def put(self, level: int, entry: int) -> None:
        self.store(self.entries[level], entry)

    def store(self, at: int, entry: int) -> None:
        self.ram[at : at + self.entry_bytes] = entry.to_bytes(self.entry_bytes, "little")

    def table(self) -> int:
        at, self.next_table = self.next_table, self.next_table + 0x1000
        return at

    def map(self, linear: int, frame: int, rights: int, page_level: int = 1) -> dict[int, int]:
        """Map one page; upper levels get all rights. Where its entries lie, by level."""
        table, places = TABLES, {}
        for level in range(self.mode.levels, 0, -1):
            index_mask = (1 << (9 if self.mode.wide else 10)) - 1
            place = table + (linear >> self.mode.shift(level) & index_mask) * self.entry_bytes
            places[level] = place
            if level == page_level:
                self.store(place, frame | rights | (LARGE if level > 1 else 0))
                break
            entry = int.from_bytes(self.ram[place : place + self.entry_bytes], "little")
            if not entry & PRESENT:
                entry = self.table() | (PRESENT if self.mode.levels == 3 and level == 3 else FULL)
                self.store(place, entry)
            table = entry & 0xFFFF_F000
        return places

    def rights(self) -> range:
        """The levels whose entries have rights: not PAE's first one."""
        return range(self.mode.page_level, 3 if self.mode.levels == 3 else self.mode.levels + 1)

    def control(self, c: Controls) -> None:
        """Enter the mode with these controls."""
        cpu, mode = self.cpu, self.mode
        cpu.write_vmcs(Vmcs.GUEST_EFER, Efer(0).replace(lme=mode.long, lma=mode.long, nxe=c.nxe))
        cr4 = Cr4(0).replace(pse=1, pae=mode.wide, smep=c.smep, smap=c.smap)
        cpu.regs.cr4 = cr4 | (1 << 12 if mode.levels == 5 else 0)
        cpu.regs.cr0 = Cr0(0).replace(pe=1, et=1, ne=1, pg=1, wp=c.wp)
        cpu.regs.cr3 = TABLES

    def ring(self, ring: int) -> None:
        long = self.mode.long
        code = AccessRights(0x9B | ring << 5).replace(l=long, db=not long, g=1)
        data = AccessRights(0x93 | ring << 5).replace(db=1, g=1)
        self.cpu.segments.cs = Segment(0x08 | ring, 0, 0xFFFF_FFFF, code)
        for name in ("ss", "ds", "es"):
            setattr(self.cpu.segments, name, Segment(0x10 | ring, 0, 0xFFFF_FFFF, data))

    def attempt(self, access: Access, ring: int, address: int) -> Exit:
        """One access from a ring; the segments are of that ring already."""
        regs = self.cpu.regs
        regs.rbx = address
        regs.rip = address if access == "fetch" else CODE[ring] + (READ if access == "read" else WRITE)
        return self.cpu.step()

    def fault(self, access: Access, ring: int, address: int) -> int | None:
        """The error code of the page fault that the access makes, or None."""
        match stopped := self.attempt(access, ring, address):
            case Exception(vector=14, error_code=code, address=at):
                assert at == address
                assert code is not None
                return code
            case Exception():
                raise AssertionError(f"{stopped} for {access} at {address:#x}")
        return None


def five_levels() -> list[tuple[int, int, int, int, int, int]]:
    """CPUID that announces LA57 too."""
    return [row if row[0] != 7 else (*row[:4], row[4] | 1 << 16, row[5]) for row in default_cpuid()]


@contextmanager
def machine(mode: Mode) -> Iterator[Machine]:
    """Tables of the mode with the code pages and the page; every page fault is an exit."""
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=8 << 20)
        if mode.frame >= len(ram):
            vm.map(at=mode.frame, size=0x1000)[:] = b"\x90" * 0x1000
        else:
            ram[mode.frame : mode.frame + 0x1000] = b"\x90" * 0x1000
        for at in CODE.values():
            ram[at + READ : at + READ + 2] = bytes.fromhex("8a03")
            ram[at + WRITE : at + WRITE + 2] = bytes.fromhex("8803")
        m = Machine(mode, vm, ram, vm.vcpu())
        if mode.levels == 5:
            m.cpu.cpuid = five_levels()
        m.cpu.controls.exception_bitmap = 1 << 14
        m.map(CODE[0], CODE[0], PRESENT)
        m.map(CODE[3], CODE[3], PRESENT | USER)
        m.entries = m.map(mode.linear, mode.frame, FULL, mode.page_level)
        yield m
