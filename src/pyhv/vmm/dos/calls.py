"""INT 21h, a function a service; `_SERVICES` is the table. AH chooses, carry and AX tell of failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ..bios.endings import UnknownCall
from ..bios.guest16 import Guest16
from . import file_calls, memory_calls
from .endings import DosProgramEnded
from .files import DosCode, DosError

if TYPE_CHECKING:
    from .kernel import DosKernel

Service: TypeAlias = "Callable[[DosKernel, Guest16], None]"

VERSION_MAJOR, VERSION_MINOR = 5, 0
DOLLAR = 0x24


def serve(dos: DosKernel, guest: Guest16) -> None:
    """Answer the function in AH. Raises DosError for the program, all of `endings` for us."""
    service = _SERVICES.get(guest.ah)
    if service is None:
        raise UnknownCall(f"INT 21h function {guest.ah:02X}h (AX={guest.ax:04X}h) is not answered by this small DOS")
    service(dos, guest)


def _end(dos: DosKernel, guest: Guest16) -> None:
    raise DosProgramEnded(guest.al if guest.ah == 0x4C else 0)


def _read_echo(dos: DosKernel, guest: Guest16) -> None:
    guest.al = dos.key()
    dos.put(bytes((guest.al,)))


def _read_silent(dos: DosKernel, guest: Guest16) -> None:
    guest.al = dos.key()


def _put_character(dos: DosKernel, guest: Guest16) -> None:
    dos.put(bytes((guest.dl,)))
    guest.al = guest.dl


def _direct(dos: DosKernel, guest: Guest16) -> None:
    """DL = FF asks for a key without waiting, anything else is printed."""
    if guest.dl != 0xFF:
        _put_character(dos, guest)
        return
    guest.zero = not dos.has_key()
    guest.al = 0 if guest.zero else dos.key()


def _put_string(dos: DosKernel, guest: Guest16) -> None:
    dos.put(guest.read_until(guest.ds, guest.dx, DOLLAR))
    guest.al = DOLLAR


def _read_line(dos: DosKernel, guest: Guest16) -> None:
    limit = guest.read(guest.ds, guest.dx, 1)[0]
    if not limit:
        return
    line = dos.read_line(limit - 1)
    guest.write(guest.ds, guest.dx + 1, bytes((len(line),)) + line + b"\r")
    dos.put(b"\r")


def _input_status(dos: DosKernel, guest: Guest16) -> None:
    guest.al = 0xFF if dos.has_key() else 0


def _flush_and_read(dos: DosKernel, guest: Guest16) -> None:
    """Forget what was typed ahead on a terminal, then do the input function in AL. Piped input is not typed ahead."""
    if guest.al in (0x01, 0x06, 0x07, 0x08, 0x0A):
        _SERVICES[guest.al](dos, guest)


def _select_disk(dos: DosKernel, guest: Guest16) -> None:
    guest.al = 3  # drives A: to C:


def _current_disk(dos: DosKernel, guest: Guest16) -> None:
    guest.al = 2


def _set_vector(dos: DosKernel, guest: Guest16) -> None:
    value = guest.dx.to_bytes(2, "little") + guest.ds.to_bytes(2, "little")
    guest.write(0, 4 * guest.al, value)


def _get_vector(dos: DosKernel, guest: Guest16) -> None:
    at = 4 * guest.al
    guest.bx = guest.read_word(0, at)
    guest.es = guest.read_word(0, at + 2)


def _date(dos: DosKernel, guest: Guest16) -> None:
    now = dos.now()
    guest.cx, guest.dh, guest.dl, guest.al = now.year, now.month, now.day, now.isoweekday() % 7


def _time(dos: DosKernel, guest: Guest16) -> None:
    now = dos.now()
    guest.ch, guest.cl, guest.dh, guest.dl = now.hour, now.minute, now.second, now.microsecond // 10_000


def _version(dos: DosKernel, guest: Guest16) -> None:
    guest.ax, guest.bx, guest.cx = VERSION_MINOR << 8 | VERSION_MAJOR, 0xFF00, 0


def _control_c_check(dos: DosKernel, guest: Guest16) -> None:
    match guest.al:
        case 0x00:
            guest.dl = 0
        case 0x05:
            guest.dl = 3  # booted from C:
        case 0x06:
            guest.bx, guest.dx = VERSION_MINOR << 8 | VERSION_MAJOR, 0


def _switch_character(dos: DosKernel, guest: Guest16) -> None:
    guest.al, guest.dl = 0, ord("/")


def _prefix(dos: DosKernel, guest: Guest16) -> None:
    guest.bx = dos.psp


def _nothing(dos: DosKernel, guest: Guest16) -> None:
    """Accepted without an effect here: disk reset, printer, verify flag, setting date or time, set PSP."""
    guest.al = 0


def _refused(dos: DosKernel, guest: Guest16) -> None:
    """Whatever would change a file: the directory is read-only."""
    raise DosError(DosCode.ACCESS_DENIED)


_SERVICES: dict[int, Service] = {
    0x00: _end,
    0x01: _read_echo,
    0x02: _put_character,
    0x05: _nothing,
    0x06: _direct,
    0x07: _read_silent,
    0x08: _read_silent,
    0x09: _put_string,
    0x0A: _read_line,
    0x0B: _input_status,
    0x0C: _flush_and_read,
    0x0D: _nothing,
    0x0E: _select_disk,
    0x19: _current_disk,
    0x1A: file_calls.set_dta,
    0x25: _set_vector,
    0x2A: _date,
    0x2B: _nothing,
    0x2C: _time,
    0x2D: _nothing,
    0x2E: _nothing,
    0x2F: file_calls.get_dta,
    0x30: _version,
    0x33: _control_c_check,
    0x35: _get_vector,
    0x36: file_calls.free_space,
    0x37: _switch_character,
    0x39: _refused,
    0x3A: _refused,
    0x3B: file_calls.change_directory,
    0x3C: _refused,
    0x3D: file_calls.open_file,
    0x3E: file_calls.close_file,
    0x3F: file_calls.read_file,
    0x40: file_calls.write_file,
    0x41: _refused,
    0x42: file_calls.seek,
    0x43: file_calls.attributes,
    0x44: file_calls.device_control,
    0x45: file_calls.duplicate,
    0x47: file_calls.current_directory,
    0x48: memory_calls.allocate,
    0x49: memory_calls.free,
    0x4A: memory_calls.resize,
    0x4C: _end,
    0x4E: file_calls.find_first,
    0x4F: file_calls.find_next,
    0x50: _nothing,
    0x51: _prefix,
    0x54: _nothing,
    0x56: _refused,
    0x57: file_calls.time_stamp,
    0x5A: _refused,
    0x5B: _refused,
    0x62: _prefix,
    0x6C: file_calls.extended_open,
}
