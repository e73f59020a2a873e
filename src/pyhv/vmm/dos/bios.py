"""The few BIOS services that DOS programs call directly: screen, memory size, keyboard, clock.

IBM PC/AT Technical Reference, "ROM BIOS". The screen is the terminal: text goes out, attributes are lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .endings import DosUnknownCall
from .guest import Guest16

if TYPE_CHECKING:
    from .kernel import DosKernel

CONVENTIONAL_KIB = 640
TICKS_PER_DAY = 0x1800B0
NO_FUNCTION = 0x86


def serve(dos: DosKernel, guest: Guest16, vector: int) -> None:
    """Answer a BIOS interrupt, or a DOS one other than 21h. Raises DosUnknownCall."""
    match vector:
        case 0x10:
            _screen(dos, guest)
        case 0x11:
            guest.ax = 0x0020  # 80 × 25 colour text, no disk drives
        case 0x12:
            guest.ax = CONVENTIONAL_KIB
        case 0x15:
            guest.ah, guest.carry = NO_FUNCTION, True
        case 0x16:
            _keyboard(dos, guest)
        case 0x1A:
            _clock(dos, guest)
        case 0x28 | 0x2F | 0x33:
            if vector == 0x33:
                guest.ax = 0  # no mouse; 0x2F: nobody installed, registers unchanged; 0x28: idle
        case 0x29:
            dos.put(bytes((guest.al,)))
        case _:
            raise DosUnknownCall(f"INT {vector:02X}h with AX={guest.ax:04X}h is not answered by this small DOS")


def _screen(dos: DosKernel, guest: Guest16) -> None:
    match guest.ah:
        case 0x0E:
            dos.put(bytes((guest.al,)))
        case 0x09 | 0x0A:
            dos.put(bytes((guest.al,)) * guest.cx)
        case 0x13:
            dos.put(guest.read(guest.es, guest.bp, guest.cx))
        case 0x0F:
            guest.ax, guest.bh = 80 << 8 | 3, 0
        case 0x03:
            guest.cx, guest.dx = 0x0607, 0
        case 0x02 | 0x00 | 0x01 | 0x05 | 0x06 | 0x07 | 0x0B | 0x10 | 0x11 | 0x12:
            pass  # modes, cursor, scrolling, colours: a terminal has its own


def _keyboard(dos: DosKernel, guest: Guest16) -> None:
    match guest.ah & 0x0F:
        case 0x00:
            guest.ax = dos.key()
        case 0x01:
            guest.zero = not dos.has_key()
            if not guest.zero:
                key = dos.key()
                dos.push_back(key)
                guest.ax = key
        case 0x02:
            guest.al = 0


def _clock(dos: DosKernel, guest: Guest16) -> None:
    now = dos.now()
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
