"""ELF executables for x86, 32 and 64 bit, placed by their program headers. System V ABI, "Program Loading"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ..plan import ImageError, Kind, Mode, Plan, Segment, Window

PAGE = 4096
FOUR_GIB = 1 << 32
_MACHINES = {"EM_386": Mode.PROTECTED, "EM_X86_64": Mode.LONG}
_NAMES = {"EM_AARCH64": "64-bit Arm", "EM_ARM": "Arm", "EM_RISCV": "RISC-V", "EM_PPC64": "PowerPC", "EM_S390": "s390"}


@dataclass(frozen=True, slots=True)
class Executable:
    """What the headers say: the machine's own mode, the entry (a GVA) and the pieces to load."""

    mode: Mode
    entry: int
    segments: tuple[Segment, ...]
    windows: tuple[Window, ...]

    def physical(self, gva: int) -> int:
        """Where a GVA of the executable lies."""
        for window in self.windows:
            if window.gva <= gva < window.gva + window.size_bytes:
                return gva - window.gva + window.gpa
        return gva


def plan(image: bytes, *, mode: Mode | None = None, entry: int | None = None, arguments: str = "") -> Plan:
    """64-bit executables start in long mode, 32-bit ones in protected mode. Raises ImageError."""
    found = parse(image)
    mode = mode or found.mode
    if mode is not found.mode:
        raise ImageError(f"this executable is for {found.mode.value} mode; leave out --mode {mode.value}")
    start = found.entry if entry is None else entry
    if mode is Mode.PROTECTED:
        start = found.physical(start)
    if not any(s.gpa <= found.physical(start) < s.end for s in found.segments):
        raise ImageError(f"the entry {start:#x} is in none of the segments that the executable loads")
    windows = found.windows if mode is Mode.LONG else ()
    return Plan(Kind.ELF, mode, found.segments, start, windows=windows, arguments=arguments)


def parse(image: bytes) -> Executable:
    """Read the headers and check them. Raises ImageError for what is damaged or needs an operating system."""
    with _named_errors():
        elf = ELFFile(BytesIO(image))
        header = elf.header
        mode = _mode_of(header["e_machine"], elf.elfclass, elf.little_endian)
        _check_type(header["e_type"])
        if header["e_phnum"] and header["e_phoff"] + header["e_phnum"] * header["e_phentsize"] > len(image):
            raise ImageError(f"the ELF file is truncated: {len(image)} bytes end before its program headers do")
        programs = list(elf.iter_segments())
        if any(p["p_type"] == "PT_INTERP" for p in programs):
            raise ImageError(
                "this ELF executable needs a dynamic linker, and so an operating system; link with -static"
            )
        loaded = [p.header for p in programs if p["p_type"] == "PT_LOAD" and p["p_memsz"]]
        if not loaded:
            raise ImageError("this ELF file loads nothing: it has no PT_LOAD segment with contents")
        return _arrange(image, mode, int(header["e_entry"]), loaded)


@contextmanager
def _named_errors() -> Iterator[None]:
    """The parser's own complaints, as one kind of error."""
    try:
        yield
    except ImageError:
        raise
    except (ELFError, ValueError, KeyError, OverflowError, AttributeError, TypeError) as error:
        raise ImageError(f"the ELF file is damaged or truncated ({str(error) or type(error).__name__})") from error


def _mode_of(machine: object, bits: int, little_endian: bool) -> Mode:
    mode = _MACHINES.get(str(machine))
    if mode is None or not little_endian:
        raise ImageError(f"this ELF file is for {_NAMES.get(str(machine), machine)}; only x86 guests run here")
    if (mode is Mode.LONG) != (bits == 64):
        raise ImageError(f"this ELF file has {bits}-bit headers for {machine} (the x32 ABI?), which does not run here")
    return mode


def _check_type(kind: object) -> None:
    reasons = {
        "ET_REL": "an object file, not linked yet; link it with ld or gcc -static -nostdlib",
        "ET_DYN": "position-independent or a shared library; link with -static -no-pie",
        "ET_CORE": "a core dump of a dead process",
    }
    if kind != "ET_EXEC":
        raise ImageError(f"this ELF file is {reasons.get(str(kind), f'of type {kind}')}; executables (ET_EXEC) run")


def _arrange(image: bytes, mode: Mode, entry: int, loaded: Sequence[Mapping[str, int]]) -> Executable:
    by_virtual = not any(p["p_paddr"] for p in loaded)
    segments, windows = [], []
    for p in loaded:
        offset, stored, size = p["p_offset"], p["p_filesz"], p["p_memsz"]
        if offset + stored > len(image):
            raise ImageError(f"the ELF file is truncated: {len(image)} bytes, and a segment ends at {offset + stored}")
        if stored > size:
            raise ImageError(f"the ELF file is damaged: a segment of {size} bytes has {stored} of them in the file")
        gva, gpa = p["p_vaddr"], p["p_vaddr"] if by_virtual else p["p_paddr"]
        segments.append(Segment(gpa, image[offset : offset + stored], size))
        if gva != gpa or gva + size > FOUR_GIB:
            windows.append(_window(gva, gpa, size))
    return Executable(mode, entry, tuple(segments), tuple(windows))


def _window(gva: int, gpa: int, size: int) -> Window:
    if (gva - gpa) % PAGE:
        raise ImageError(f"a segment at {gva:#x} is to be loaded at {gpa:#x}: the two must agree modulo {PAGE}")
    start = gva & -PAGE
    return Window(start, gpa & -PAGE, -(-(gva + size - start) // PAGE) * PAGE)
