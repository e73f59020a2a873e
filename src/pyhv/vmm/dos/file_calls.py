"""INT 21h, files and directories, read-only: opening, reading, seeking, searching; 0, 1 and 2 are the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..bios.guest16 import Guest16
from .files import DIRECTORY, DosCode, DosError, Entry

if TYPE_CHECKING:
    from .kernel import DosKernel

STDIN, STDOUT, STDERR, STDAUX, STDPRN = range(5)
PATH_BYTES = 128
IS_CONSOLE = 0x80D3  # a character device: console input, output, special
IS_FILE_ON_C = 0x0002
SEARCH_BYTES = 0x2B
CARRIAGE_RETURN = b"\r\n"


def _name(guest: Guest16, segment: int, offset: int) -> str:
    return guest.read_until(segment, offset, 0, PATH_BYTES).decode("cp437")


def open_file(dos: DosKernel, guest: Guest16) -> None:
    """3Dh: DS:DX names it, AL bits 2:0 the access (0 read, 1 write, 2 both). Only reading is allowed."""
    name = _name(guest, guest.ds, guest.dx)
    if guest.al & 7 == 1:
        dos.files.find(name)
        raise DosError(DosCode.ACCESS_DENIED)
    guest.ax = STDIN if name.upper() == "CON" else dos.files.open(name)
    guest.carry = False


def extended_open(dos: DosKernel, guest: Guest16) -> None:
    """6Ch: DS:SI names it, BL the access, DL the action (bits 3:0: 1 open an existing file)."""
    name = _name(guest, guest.ds, guest.si)
    if guest.bl & 7 == 1 or guest.dl & 0xF != 1:
        raise DosError(DosCode.ACCESS_DENIED)
    guest.ax, guest.cx = dos.files.open(name), 1
    guest.carry = False


def close_file(dos: DosKernel, guest: Guest16) -> None:
    """3Eh: BX."""
    if guest.bx > STDPRN:
        dos.files.close(guest.bx)
    guest.carry = False


def duplicate(dos: DosKernel, guest: Guest16) -> None:
    """45h: BX."""
    guest.ax = guest.bx if guest.bx <= STDPRN else dos.files.duplicate(guest.bx)
    guest.carry = False


def read_file(dos: DosKernel, guest: Guest16) -> None:
    """3Fh: BX handle, CX bytes to DS:DX. A line of the console ends with CR LF."""
    if guest.bx == STDIN:
        line = b"" if dos.source.ended and not dos.has_key() else dos.read_line(max(guest.cx - 2, 0)) + CARRIAGE_RETURN
        data = line[: guest.cx]
        if line:
            dos.put(CARRIAGE_RETURN)
    else:
        data = dos.files.read(guest.bx, guest.cx)
    guest.write(guest.ds, guest.dx, data)
    guest.ax, guest.carry = len(data), False


def write_file(dos: DosKernel, guest: Guest16) -> None:
    """40h: BX handle, CX bytes from DS:DX. The console and the printer take them; files are read-only."""
    if guest.bx in (STDOUT, STDERR, STDIN):
        dos.put(guest.read(guest.ds, guest.dx, guest.cx))
    elif dos.files.is_open(guest.bx):
        raise DosError(DosCode.ACCESS_DENIED)
    elif guest.bx not in (STDAUX, STDPRN):
        raise DosError(DosCode.INVALID_HANDLE)
    guest.ax, guest.carry = guest.cx, False


def seek(dos: DosKernel, guest: Guest16) -> None:
    """42h: CX:DX signed, AL 0 start, 1 here, 2 end. DX:AX is the new position."""
    offset = guest.cx << 16 | guest.dx
    position = dos.files.seek(guest.bx, offset - (offset >> 31 << 32), guest.al)
    guest.dx, guest.ax, guest.carry = position >> 16, position, False


def attributes(dos: DosKernel, guest: Guest16) -> None:
    """43h: AL 0 asks; 1 would change and is refused."""
    entry = dos.files.entry(_name(guest, guest.ds, guest.dx))
    if guest.al != 0:
        raise DosError(DosCode.ACCESS_DENIED)
    guest.cx = guest.ax = entry.attributes
    guest.carry = False


def device_control(dos: DosKernel, guest: Guest16) -> None:
    """44h: AL 0 device information, 1 accepted, 6 and 7 input and output status."""
    console = guest.bx <= STDPRN
    if not console and not dos.files.is_open(guest.bx):
        raise DosError(DosCode.INVALID_HANDLE)
    match guest.al:
        case 0:
            guest.dx = IS_CONSOLE if console else IS_FILE_ON_C
            guest.ax = guest.dx
        case 1:
            pass
        case 6:
            guest.al = 0xFF if not console or dos.has_key() else 0
        case 7:
            guest.al = 0xFF
        case _:
            raise DosError(DosCode.INVALID_FUNCTION)
    guest.carry = False


def current_directory(dos: DosKernel, guest: Guest16) -> None:
    """47h: the root, an empty string at DS:SI."""
    guest.write(guest.ds, guest.si, b"\0")
    guest.ax, guest.carry = 0x0100, False


def change_directory(dos: DosKernel, guest: Guest16) -> None:
    """3Bh: only to the root, where the program already is."""
    if dos.files.find(_name(guest, guest.ds, guest.dx)) != dos.files.find("\\"):
        raise DosError(DosCode.PATH_NOT_FOUND)
    guest.carry = False


def free_space(dos: DosKernel, guest: Guest16) -> None:
    """36h: a full disk of 32 MiB, since nothing can be written."""
    guest.ax, guest.bx, guest.cx, guest.dx = 8, 0, 512, 8192


def time_stamp(dos: DosKernel, guest: Guest16) -> None:
    """57h: AL 0 asks for time (CX) and date (DX) of a handle."""
    if guest.al != 0:
        raise DosError(DosCode.ACCESS_DENIED)
    entry = dos.files.stamp(guest.bx)
    guest.cx, guest.dx, guest.carry = entry.dos_time, entry.dos_date, False


def set_dta(dos: DosKernel, guest: Guest16) -> None:
    """1Ah: DS:DX."""
    dos.dta = (guest.ds, guest.dx)


def get_dta(dos: DosKernel, guest: Guest16) -> None:
    """2Fh: ES:BX."""
    guest.es, guest.bx = dos.dta


def find_first(dos: DosKernel, guest: Guest16) -> None:
    """4Eh: the first file that fits DS:DX, into the disk transfer area; directories only when CX asks."""
    wanted = guest.cx
    entries = dos.files.matching(_name(guest, guest.ds, guest.dx))
    dos.searches = [e for e in entries if not e.attributes & DIRECTORY or wanted & DIRECTORY]
    _deliver(dos, guest)


def find_next(dos: DosKernel, guest: Guest16) -> None:
    """4Fh: the next one of the last search."""
    _deliver(dos, guest)


def _deliver(dos: DosKernel, guest: Guest16) -> None:
    if not dos.searches:
        raise DosError(DosCode.NO_MORE_FILES)
    segment, offset = dos.dta
    guest.write(segment, offset, _found(dos.searches.pop(0)))
    guest.ax, guest.carry = 0, False


def _found(entry: Entry) -> bytes:
    """The disk transfer area after a search: 21 bytes of our own, then attribute, time, date, size and name."""
    record = bytearray(SEARCH_BYTES)
    record[0x15] = entry.attributes
    record[0x16:0x18] = entry.dos_time.to_bytes(2, "little")
    record[0x18:0x1A] = entry.dos_date.to_bytes(2, "little")
    record[0x1A:0x1E] = min(entry.size_bytes, 0xFFFF_FFFF).to_bytes(4, "little")
    name = entry.name.encode("cp437", "replace")
    record[0x1E : 0x1E + len(name)] = name
    return bytes(record)
