"""Putting a plan into a VM: segments into memory, the processor to the first instruction."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pyhv import Mapping, Perm, Table, VCpu, VirtualMachine

from .boards.pc import LOW_RAM_END, ram_ranges
from .loaders import linux, pvh
from .loaders.multiboot import information
from .paging import LARGE, PAGE, PageTables
from .plan import ImageError, Kind, Mode, Plan
from .room import Room
from .sizes import show_size

STACK_BYTES = 64 << 10
FOUR_GIB = 1 << 32
REAL_STACK = 0x7C00
REAL_STACK_LOWEST = 0x600  # above the vectors and the BIOS data area
LINUX_CODE, LINUX_DATA = 0x10, 0x18
GDT_CODE32, GDT_CODE64, GDT_DATA = 0x00CF_9B00_0000_FFFF, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF


@dataclass(frozen=True, slots=True)
class _Told:
    """What a kernel is told about the machine."""

    ram_bytes: int
    rsdp_at: int
    screen: bool

    @property
    def low_high(self) -> tuple[int, int]:
        """Bytes of RAM below 4 GiB and from there."""
        ranges = ram_ranges(self.ram_bytes)
        return ranges[0][1], ranges[1][1] if len(ranges) > 1 else 0


@dataclass(frozen=True, slots=True)
class Placed:
    """What lies in memory now. The mappings keep it alive; `roms` are the read-only ones."""

    ram: tuple[Mapping, ...]
    roms: tuple[Mapping, ...]


def place(plan: Plan, vm: VirtualMachine, ram_bytes: int) -> Placed:
    """Map RAM and ROM and copy the segments in. Raises ImageError for segments that have no room, before mapping."""
    ranges = ram_ranges(ram_bytes)
    for segment in plan.segments:
        if not segment.rom and not any(at <= segment.gpa and segment.end <= at + size for at, size in ranges):
            raise ImageError(_no_room(segment.gpa, segment.end, ram_bytes))
    ram = tuple(vm.map(at=at, size=size) for at, size in ranges)
    roms = []
    for segment in plan.segments:
        if segment.rom:
            rom = vm.map(at=segment.gpa, size=len(segment.data), perm=Perm.RX)
            rom[0 : len(segment.data)] = segment.data
            roms.append(rom)
        elif segment.data:
            vm.write(segment.gpa, segment.data)
    return Placed(ram, tuple(roms))


def start(plan: Plan, vm: VirtualMachine, cpu: VCpu, ram_bytes: int, *, rsdp_at: int = 0, screen: bool = True) -> None:
    """Bring the processor to the plan's first instruction, with the tables and the stack that its mode needs.

    Kernels that ask are told where the ACPI tables begin (`rsdp_at`) and whether there is a text `screen`.
    """
    if plan.kind is Kind.FIRMWARE:
        cpu.reset()
        return
    if plan.mode is Mode.REAL:
        _start_real(plan, cpu)
    else:
        _start_flat(plan, vm, cpu, _Told(ram_bytes, rsdp_at, screen))
    for name, value in plan.registers.items():
        setattr(cpu.regs, name, value)


def _no_room(start: int, end: int, ram_bytes: int) -> str:
    what = f"the image wants memory at {start:#x} to {end:#x}, and the machine has {show_size(ram_bytes)} of RAM"
    if end <= LOW_RAM_END:
        return f"{what}; --memory {-(-end // (1 << 20))}M would do"
    return f"{what} (none at {LOW_RAM_END:#x} to {FOUR_GIB:#x}); link or load it lower"


def _start_real(plan: Plan, cpu: VCpu) -> None:
    for name in ("cs", "ds", "es", "ss"):
        if name == "cs" or plan.kind is Kind.DOS:
            cpu.segments[name].load_real(plan.code_base >> 4)  # type: ignore[union-attr]
    lowest = min(segment.gpa for segment in plan.segments)
    cpu.regs.rsp = lowest if REAL_STACK_LOWEST <= lowest < 0x10000 else REAL_STACK
    cpu.regs.rip = plan.entry - plan.code_base


def _start_flat(plan: Plan, vm: VirtualMachine, cpu: VCpu, told: _Told) -> None:
    room = Room(told.low_high[0], [(s.gpa, s.end) for s in plan.segments])
    if plan.mode is Mode.LONG:
        cpu.enter_long(_page_tables(plan, vm, room, told.ram_bytes))
    else:
        cpu.enter_protected()
    _descriptors(plan, vm, cpu, room)
    cpu.regs.rsp = room.allocate(STACK_BYTES) + STACK_BYTES
    cpu.regs.rip = plan.entry
    if plan.wants_info:
        cpu.regs.rbx = _information(plan, vm, room, told)
    if plan.setup_header:
        cpu.regs.rsi = _boot_parameters(plan, vm, room, told)
    if plan.kind is Kind.PVH:
        cpu.regs.rbx = _start_info(plan, vm, room, told)


def _initrd(plan: Plan, vm: VirtualMachine, room: Room) -> tuple[int, int]:
    """GPA and size of the initrd: as high as the kernel takes it."""
    if not plan.initrd:
        return (0, 0)
    at = room.allocate_high(len(plan.initrd), plan.initrd_max + 1)
    vm.write(at, plan.initrd)
    return at, len(plan.initrd)


def _descriptors(plan: Plan, vm: VirtualMachine, cpu: VCpu, room: Room) -> None:
    """A GDT with flat code and data: selectors 8 and 16, for a Linux kernel 16 and 24 as its protocol says."""
    code = GDT_CODE64 if plan.mode is Mode.LONG else GDT_CODE32
    linux_kernel = bool(plan.setup_header)
    gdt = struct.pack("<4Q", 0, 0, code, GDT_DATA) if linux_kernel else struct.pack("<3Q", 0, code, GDT_DATA)
    at = room.allocate(PAGE)
    vm.write(at, gdt)
    cpu.segments.gdtr = Table(at, len(gdt) - 1)
    if linux_kernel:
        for name in ("cs", "ss", "ds", "es", "fs", "gs"):
            cpu.segments[name].selector = LINUX_CODE if name == "cs" else LINUX_DATA  # type: ignore[union-attr]


def _page_tables(plan: Plan, vm: VirtualMachine, room: Room, ram_bytes: int) -> int:
    """Identity for the first 4 GiB and all RAM, and the windows of the executable. Returns CR3."""
    top = max(FOUR_GIB, *(at + size for at, size in ram_ranges(ram_bytes)))

    def build(at: int) -> bytes:
        tables = PageTables(at)
        tables.map(0, 0, -(-top // LARGE) * LARGE)
        for window in plan.windows:
            tables.map(window.gva, window.gpa, window.size_bytes)
        return tables.data

    at = room.allocate(len(build(0)))
    vm.write(at, build(at))
    return at


def _boot_parameters(plan: Plan, vm: VirtualMachine, room: Room, told: _Told) -> int:
    at = room.allocate(linux.PARAMETERS_BYTES + linux.COMMAND_LINE_ROOM)
    page = linux.boot_parameters(
        plan.setup_header,
        *told.low_high,
        at,
        plan.arguments,
        initrd=_initrd(plan, vm, room),
        rsdp_at=told.rsdp_at,
        screen=told.screen,
    )
    vm.write(at, page)
    return at


def _start_info(plan: Plan, vm: VirtualMachine, room: Room, told: _Told) -> int:
    ranges = linux.memory_map(*told.low_high)
    at = room.allocate(PAGE + len(plan.arguments.encode()))
    initrd = _initrd(plan, vm, room)
    vm.write(at, pvh.start_info(at, plan.arguments, ranges, initrd=initrd, rsdp_at=told.rsdp_at))
    return at


def _information(plan: Plan, vm: VirtualMachine, room: Room, told: _Told) -> int:
    at = room.allocate(PAGE)
    block = information(*told.low_high, at, plan.arguments)
    if len(block) > PAGE:
        raise ImageError(f"the command line has {len(plan.arguments)} characters, more than fit into {PAGE} bytes")
    vm.write(at, block)
    return at
