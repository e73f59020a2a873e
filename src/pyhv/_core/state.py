"""`cpu.state`: everything a vCPU is, as one frozen value that can be compared, printed, stored and set again."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, SupportsIndex

from ..arch.x86_64.msrs import MSRS, STATE
from ..arch.x86_64.registers import CONTROL, DEBUG, GENERAL
from ..arch.x86_64.vmcs import SEGMENTS, Vmcs, segment_fields
from ..errors import BadArgument
from .checks import integer

if TYPE_CHECKING:
    from ..engines.base import EngineVcpu

_EVENT: Final = {
    "interruptibility": Vmcs.GUEST_INTERRUPTIBILITY,
    "activity": Vmcs.GUEST_ACTIVITY,
    "pending_debug": Vmcs.GUEST_PENDING_DEBUG,
    "event.info": Vmcs.ENTRY_INTERRUPTION_INFO,
    "event.error": Vmcs.ENTRY_EXCEPTION_ERROR,
    "event.length": Vmcs.ENTRY_INSTRUCTION_LENGTH,
}
_SYSTEM: Final = {
    "efer": Vmcs.GUEST_EFER,  # as the field: WRMSR would not let LMA change
    "pat": Vmcs.GUEST_PAT,
    "sysenter_cs": Vmcs.GUEST_SYSENTER_CS,
    "sysenter_esp": Vmcs.GUEST_SYSENTER_ESP,
    "sysenter_eip": Vmcs.GUEST_SYSENTER_EIP,
    "debugctl": Vmcs.GUEST_DEBUGCTL,
    "gdtr.base": Vmcs.GUEST_GDTR_BASE,
    "gdtr.limit": Vmcs.GUEST_GDTR_LIMIT,
    "idtr.base": Vmcs.GUEST_IDTR_BASE,
    "idtr.limit": Vmcs.GUEST_IDTR_LIMIT,
}


def _segments() -> Iterator[tuple[str, int]]:
    for name in SEGMENTS:
        for part, field in zip(("selector", "base", "limit", "access_rights"), segment_fields(name), strict=True):
            yield f"{name}.{part}", field


_PDPTES: Final = {
    "pdpte0": int(Vmcs.GUEST_PDPTE0),
    "pdpte1": int(Vmcs.GUEST_PDPTE1),
    "pdpte2": int(Vmcs.GUEST_PDPTE2),
    "pdpte3": int(Vmcs.GUEST_PDPTE3),
}
"""The first level of PAE paging: registers, which the tables in memory need not agree with any more."""

_MSR_FIELDS: Final = {name.lower(): MSRS[name] for name in STATE}
_CONTROL_FIELDS: Final = {reg.name.lower(): int(reg) for reg in CONTROL}
_VMCS_FIELDS: Final = {**dict(_segments()), **{name: int(field) for name, field in (_SYSTEM | _EVENT).items()}}
_PLAIN_FIELDS: Final = {reg.name.lower(): int(reg) for reg in (*GENERAL, *DEBUG)}

NAMES: Final = (*_PLAIN_FIELDS, *_CONTROL_FIELDS, *_MSR_FIELDS, *_VMCS_FIELDS, *_PDPTES)
"""The names of a CpuState, in the order of its values."""

_INDEX: Final = {name: position for position, name in enumerate(NAMES)}
_MAGIC: Final = b"pyhvCPU\x04"
_HEADER: Final = "<IIIII"  # how many values; bytes of each image, in the order of a CpuState's fields


@dataclass(frozen=True, slots=True, repr=False)
class CpuState:
    """Registers, segments, control and debug registers, MSRs, PDPTEs, pending events and the XSAVE image of a vCPU.

    `unfinished` is what the instruction that RIP is on has been answered so far, where it is not done yet; an exit that
    waited for its answer when the state was taken comes again. `apic` is the local APIC, empty where there is none;
    `granted` what Apple's functions gave the guest to reach without an exit: the shadow VMCS with its accesses, native
    and managed MSRs.

    `state["rax"]`, `state["cs.base"]`; `replace(rip=…)`; `diff(other)`; `to_bytes()` and `from_bytes()`. The
    time-stamp counter belongs to the VM's clock and is not in it; neither are CPUID, the VMCS controls, the APIC page
    and the address space it is in, which are configuration, partly of the VM.
    """

    values: tuple[int, ...]
    xsave: bytes
    unfinished: bytes = b""
    apic: bytes = b""
    granted: bytes = b""

    def __post_init__(self) -> None:
        if len(self.values) != len(NAMES):
            raise BadArgument(f"a CpuState has {len(NAMES)} values, not {len(self.values)}")

    def __getitem__(self, name: str) -> int:
        return self.values[_position(name)]

    def as_dict(self) -> dict[str, int]:
        """All values by name."""
        return dict(zip(NAMES, self.values, strict=True))

    def replace(self, changes: Mapping[str, SupportsIndex] | None = None, /, **more: SupportsIndex) -> Self:
        """The same state with some values changed: `replace(rip=0x1000)`, `replace({"cs.base": 0})`."""
        values = list(self.values)
        for name, value in {**(changes or {}), **more}.items():
            values[_position(name)] = integer(name, value)
        return type(self)(tuple(values), self.xsave, self.unfinished, self.apic, self.granted)

    def diff(self, other: CpuState) -> list[str]:
        """What differs, one line each: `rax: 0x1 -> 0x2`. Empty when the two are equal."""
        pairs = zip(NAMES, self.values, other.values, strict=True)
        lines = [f"{name}: {mine:#x} -> {theirs:#x}" for name, mine, theirs in pairs if mine != theirs]
        lines += _diff_bytes("xsave", self.xsave, other.xsave)
        lines += _diff_bytes("apic", self.apic, other.apic)
        lines += _diff_bytes("granted", self.granted, other.granted)
        return lines + _diff_bytes("unfinished", self.unfinished, other.unfinished)

    def to_bytes(self) -> bytes:
        """A self-describing image: names, values, the XSAVE image and a checksum."""
        images = (self.xsave, self.unfinished, self.apic, self.granted)
        parts = [_MAGIC, struct.pack(_HEADER, len(NAMES), *map(len, images))]
        for name, value in zip(NAMES, self.values, strict=True):
            parts.append(struct.pack("<B", len(name)) + name.encode() + struct.pack("<Q", value))
        body = b"".join(parts) + b"".join(images)
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def from_bytes(cls, image: bytes) -> Self:
        """The state that `to_bytes()` wrote. Raises BadArgument for anything else: foreign, cut off, damaged."""
        body, values = _checked_body(bytes(image)), {}
        count, *sizes = struct.unpack_from(_HEADER, body, len(_MAGIC))
        offset = len(_MAGIC) + struct.calcsize(_HEADER)
        for _ in range(count):
            end = offset + 1 + body[offset]
            values[body[offset + 1 : end].decode()] = struct.unpack_from("<Q", body, end)[0]
            offset = end + 8
        strange, missing = values.keys() - _INDEX.keys(), _INDEX.keys() - values.keys()
        if strange or missing or len(body) != offset + sum(sizes):
            raise BadArgument(f"a saved vCPU of another version: unknown {sorted(strange)}, missing {sorted(missing)}")
        images = []
        for size in sizes:
            images.append(body[offset : offset + size])
            offset += size
        return cls(tuple(values[name] for name in NAMES), *images)

    def __repr__(self) -> str:
        shown = " ".join(f"{name}={value:#x}" for name, value in self.as_dict().items() if value)
        return f"<CpuState {shown}, xsave {len(self.xsave)} bytes>"


def _position(name: str) -> int:
    try:
        return _INDEX[name]
    except KeyError:
        raise BadArgument(f"a CpuState has no {name!r}; it has {', '.join(NAMES)}") from None


def _checked_body(image: bytes) -> bytes:
    if not image.startswith(_MAGIC):
        raise BadArgument(f"not a saved vCPU: it begins with {image[: len(_MAGIC)]!r}, not {_MAGIC!r}")
    body, checksum = image[:-4], image[-4:]
    if len(body) < len(_MAGIC) + struct.calcsize(_HEADER) or struct.pack("<I", zlib.crc32(body)) != checksum:
        raise BadArgument("a saved vCPU that is cut off or damaged: its checksum does not match")
    return body


def _diff_bytes(name: str, mine: bytes, theirs: bytes, step: int = 16) -> list[str]:
    lines = []
    for offset in range(0, max(len(mine), len(theirs)), step):
        before, after = mine[offset : offset + step], theirs[offset : offset + step]
        if before != after:
            lines.append(f"{name}[{offset:#x}]: {before.hex()} -> {after.hex()}")
    return lines


def read_state(engine: EngineVcpu) -> CpuState:
    """The whole state of an engine's vCPU."""
    values = [engine.read_register(reg) for reg in _PLAIN_FIELDS.values()]
    values += [engine.read_register(reg) for reg in _CONTROL_FIELDS.values()]
    values += [engine.read_msr(msr) for msr in _MSR_FIELDS.values()]
    values += [engine.read_vmcs(field) for field in (*_VMCS_FIELDS.values(), *_PDPTES.values())]
    return CpuState(
        tuple(values), engine.read_xsave(), engine.read_unfinished(), engine.read_apic(), engine.read_granted()
    )


def write_state(engine: EngineVcpu, state: CpuState) -> None:
    """Make an engine's vCPU be `state`.

    When the engine refuses a part, or could not run the whole, the old state comes back and BadArgument is raised.
    """
    before = read_state(engine)
    try:
        _write(engine, state)
        if problem := engine.state_problem():
            raise BadArgument(problem)
    except (ValueError, KeyError) as refused:
        _write(engine, before)
        raise BadArgument(f"this vCPU cannot take the state: {refused}") from None


def _write(engine: EngineVcpu, state: CpuState) -> None:
    writers: tuple[tuple[dict[str, int], Callable[[int, int], None]], ...] = (
        (_VMCS_FIELDS, engine.write_vmcs),  # EFER among them: control registers are judged by it
        (_CONTROL_FIELDS, engine.write_register),
        (_MSR_FIELDS, engine.write_msr),
        (_PLAIN_FIELDS, engine.write_register),
        (_PDPTES, engine.write_vmcs),  # behind what makes them be read from memory
    )
    for fields, write in writers:
        for name, number in fields.items():
            write(number, state[name])
    if state.apic or engine.read_apic():
        engine.write_apic(state.apic)  # behind APIC_BASE: the mode decides what fits
    if state.granted or engine.read_granted():
        engine.write_granted(state.granted)
    engine.write_xsave(state.xsave)
    engine.write_unfinished(state.unfinished)  # last: a written RIP forgets it
