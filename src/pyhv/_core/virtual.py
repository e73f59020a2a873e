"""Guest memory by linear address: reading, writing, disassembling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, SupportsIndex

from .. import _silicon
from ..addresses import GVA
from ..arch.x86_64.layouts import AccessRights
from ..errors import Fault, HvError
from .checks import U64, integer

if TYPE_CHECKING:
    from .vcpu import VCpu

_PAGE: Final = 4096
_LONGEST: Final = 15  # bytes of an instruction


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction in guest memory; `address` is linear."""

    address: GVA
    code: bytes
    text: str

    def __str__(self) -> str:
        return f"{self.address:#x}: {self.code.hex(' '):<24} {self.text}"


def _pieces(vcpu: VCpu, gva: int, size: int) -> Iterator[tuple[int, int]]:
    """The range as (GPA, bytes), one a page. Raises Fault at a page that is not there."""
    while size:
        length = min(size, _PAGE - gva % _PAGE)
        gpa = vcpu.translate(gva)
        if gpa is None:
            raise Fault(f"gva {gva:#x} is not there: the guest's page tables have no translation for it")
        yield gpa, length
        gva, size = (gva + length) & U64, size - length


def read(vcpu: VCpu, gva: SupportsIndex, size: SupportsIndex) -> bytes:
    """See `VCpu.read_virtual`."""
    pieces = _pieces(vcpu, integer("gva", gva), integer("size", size, high=1 << 40))
    return b"".join(vcpu.space.read(gpa, length) for gpa, length in pieces)


def write(vcpu: VCpu, gva: SupportsIndex, data: bytes) -> None:
    """See `VCpu.write_virtual`."""
    pieces = list(_pieces(vcpu, integer("gva", gva), len(data)))
    for gpa, length in pieces:
        vcpu.space.read(gpa, length)  # the whole range is there, or nothing is written
    offset = 0
    for gpa, length in pieces:
        vcpu.space.write(gpa, data[offset : offset + length])
        offset += length


def disassemble(vcpu: VCpu, at: SupportsIndex | None, count: int) -> list[Instruction]:
    """See `VCpu.disassemble`."""
    bits, base = _mode(vcpu)
    address = (base + vcpu.regs.rip) & U64 if at is None else integer("at", at)
    found: list[Instruction] = []
    while len(found) < count:
        code = _code(vcpu, address)
        rows = _silicon.disassemble(code, address, bits)
        if not rows:
            break
        _, length, text = rows[0]
        found.append(Instruction(GVA(address), code[:length], text))
        address = (address + length) & (U64 if bits == 64 else 0xFFFF_FFFF)
    return found


def _mode(vcpu: VCpu) -> tuple[int, int]:
    """Bits of the code segment's mode, and the base of CS."""
    rights = AccessRights(vcpu.segments.cs.access_rights)
    if rights.l and vcpu.msrs.efer.lma:
        return 64, 0
    return (32 if rights.db else 16), vcpu.segments.cs.base


def _code(vcpu: VCpu, address: int) -> bytes:
    """Up to 15 bytes of code, fewer where the next page is not there."""
    first = min(_LONGEST, _PAGE - address % _PAGE)
    code = b""
    for start, length in ((address, first), (address + first, _LONGEST - first)):
        try:
            code += read(vcpu, start & U64, length)
        except HvError:
            break
    return code
