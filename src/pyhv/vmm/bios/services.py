"""BIOS services: screen, memory size, keyboard, clock. The screen is the terminal: text goes out, attributes are lost.

IBM PC/AT Technical Reference, "ROM BIOS"; INT 15h function E820h: Advanced Configuration and Power Interface
Specification, "System Address Map Interfaces".
"""

from __future__ import annotations

import struct

from .console import KeyConsole
from .endings import UnknownCall
from .guest16 import Guest16

CONVENTIONAL_KIB = 640
TICKS_PER_DAY = 0x1800B0
NO_FUNCTION = 0x86
SMAP = 0x534D4150
USABLE, RESERVED = 1, 2
MIB1 = 1 << 20


def serve(console: KeyConsole, guest: Guest16, vector: int, ram_bytes: int = MIB1) -> None:
    """Answer a BIOS interrupt. Raises UnknownCall, WouldBlock."""
    match vector:
        case 0x10:
            _screen(console, guest)
        case 0x11:
            guest.ax = 0x0020  # 80 × 25 colour text, no disk drives
        case 0x12:
            guest.ax = CONVENTIONAL_KIB
        case 0x15:
            _system(guest, ram_bytes)
        case 0x16:
            _keyboard(console, guest)
        case 0x1A:
            _clock(console, guest)
        case _:
            raise UnknownCall(f"INT {vector:02X}h with AX={guest.ax:04X}h: there is no system software that answers it")


def _system(guest: Guest16, ram_bytes: int) -> None:
    """INT 15h: 88h extended memory, E820h the memory map; the rest does not exist."""
    if guest.ah == 0x88:
        guest.ax, guest.carry = min((ram_bytes - MIB1) >> 10, 0xFFFF), False
    elif guest.ax == 0xE820 and guest.cpu.regs.rdx & 0xFFFF_FFFF == SMAP:
        _memory_map(guest, ram_bytes)
    else:
        guest.ah, guest.carry = NO_FUNCTION, True


def _memory_map(guest: Guest16, ram_bytes: int) -> None:
    """EBX counts the entries; 0 after the last."""
    top = min(ram_bytes, 0xC000_0000)
    entries = [(0, 0xA0000, USABLE), (0xF0000, 0x10000, RESERVED), (MIB1, top - MIB1, USABLE)]
    entries += [(1 << 32, ram_bytes - top, USABLE)] if ram_bytes > top else []
    entries = [entry for entry in entries if entry[1] > 0]
    index = guest.bx
    if index >= len(entries):
        guest.carry = True
        return
    guest.write(guest.es, guest.di, struct.pack("<QQI", *entries[index]))
    guest.cpu.regs.rax = SMAP
    guest.cpu.regs.rbx = index + 1 if index + 1 < len(entries) else 0
    guest.cpu.regs.rcx = 20
    guest.carry = False


def _screen(console: KeyConsole, guest: Guest16) -> None:
    match guest.ah:
        case 0x0E:
            console.put(bytes((guest.al,)))
        case 0x09 | 0x0A:
            console.put(bytes((guest.al,)) * guest.cx)
        case 0x13:
            console.put(guest.read(guest.es, guest.bp, guest.cx))
        case 0x0F:
            guest.ax, guest.bh = 80 << 8 | 3, 0
        case 0x03:
            guest.cx, guest.dx = 0x0607, 0
        case 0x02 | 0x00 | 0x01 | 0x05 | 0x06 | 0x07 | 0x0B | 0x10 | 0x11 | 0x12:
            pass  # modes, cursor, scrolling, colours: a terminal has its own


def _keyboard(console: KeyConsole, guest: Guest16) -> None:
    match guest.ah & 0x0F:
        case 0x00:
            guest.ax = console.key()
        case 0x01:
            guest.zero = not console.has_key()
            if not guest.zero:
                key = console.key()
                console.push_back(key)
                guest.ax = key
        case 0x02:
            guest.al = 0


def _clock(console: KeyConsole, guest: Guest16) -> None:
    now = console.now()
    match guest.ah:
        case 0x00:
            seconds = (now.hour * 60 + now.minute) * 60 + now.second + now.microsecond / 1e6
            ticks = int(seconds * TICKS_PER_DAY / 86400)
            guest.cx, guest.dx, guest.al = ticks >> 16, ticks & 0xFFFF, 0
        case 0x02:
            guest.ch, guest.cl, guest.dh, guest.dl = (*map(_bcd, (now.hour, now.minute, now.second)), 0)
            guest.carry = False
        case 0x04:
            guest.ch, guest.cl = _bcd(now.year // 100), _bcd(now.year % 100)
            guest.dh, guest.dl, guest.carry = _bcd(now.month), _bcd(now.day), False
        case _:
            guest.carry = True


def _bcd(value: int) -> int:
    return value // 10 << 4 | value % 10
