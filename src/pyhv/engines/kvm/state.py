"""The state of a vCPU on its way between KVM and the software CPU that stands beside it.

That one (`twin`) holds the state while the guest does not run: every register id, VMCS field, check and format is its.
`General` moves the registers that most exits look at, `System` the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fcntl import ioctl
from struct import pack_into, unpack_from
from typing import Final, TypeVar

from ... import _silicon
from ...arch.x86_64.msrs import MSRS
from ...arch.x86_64.registers import Reg
from ...arch.x86_64.vmcs import Event, Vmcs, segment_fields
from ...errors import BadArgument, Unsupported
from . import abi
from .abi import Ioctl

T = TypeVar("T")

GENERAL_ORDER: Final = tuple(
    int(reg)
    for reg in (
        *(Reg.RAX, Reg.RBX, Reg.RCX, Reg.RDX, Reg.RSI, Reg.RDI, Reg.RSP, Reg.RBP),
        *(Reg.R8, Reg.R9, Reg.R10, Reg.R11, Reg.R12, Reg.R13, Reg.R14, Reg.R15),
        *(Reg.RIP, Reg.RFLAGS),
    )
)
_SEGMENTS: Final = tuple(segment_fields(name) for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr"))
_TABLES: Final = (
    (Vmcs.GUEST_GDTR_BASE, Vmcs.GUEST_GDTR_LIMIT),
    (Vmcs.GUEST_IDTR_BASE, Vmcs.GUEST_IDTR_LIMIT),
)
_PDPTES: Final = (Vmcs.GUEST_PDPTE0, Vmcs.GUEST_PDPTE1, Vmcs.GUEST_PDPTE2, Vmcs.GUEST_PDPTE3)
_DEBUG: Final = (Reg.DR0, Reg.DR1, Reg.DR2, Reg.DR3, Reg.DR6, Reg.DR7)
_FIELD_MSRS: Final = {
    MSRS["SYSENTER_CS"]: Vmcs.GUEST_SYSENTER_CS,
    MSRS["SYSENTER_ESP"]: Vmcs.GUEST_SYSENTER_ESP,
    MSRS["SYSENTER_EIP"]: Vmcs.GUEST_SYSENTER_EIP,
    MSRS["DEBUGCTL"]: Vmcs.GUEST_DEBUGCTL,
    MSRS["PAT"]: Vmcs.GUEST_PAT,
}
_PLAIN_MSRS: Final = tuple(
    MSRS[name] for name in ("SPEC_CTRL", "STAR", "LSTAR", "CSTAR", "FMASK", "KERNEL_GS_BASE", "TSC_AUX", "MISC_ENABLE")
)
STATE_MSRS: Final = (*_FIELD_MSRS, *_PLAIN_MSRS)
TSC: Final = MSRS["TSC"]

_UNUSABLE: Final = 1 << 16
_AVX_END: Final = 832  # x87, SSE and AVX stand at the same offsets on every processor; the rest need not
_COMPONENTS: Final = 7
_XSTATE_BV_AT: Final = 512
_PG_PAE: Final = (1 << 31, 1 << 5)
_VALID: Final = 1 << 31
_ERROR: Final = 1 << 11


def known_msrs(fd: int) -> tuple[int, ...]:
    """Those of the state that this KVM has."""
    return tuple(msr for msr in STATE_MSRS if read_msr(fd, msr) is not None)


def read_msr(fd: int, msr: int) -> int | None:
    """One MSR; None where KVM has no such."""
    image = bytearray(abi.MSRS_HEAD.pack(1, 0) + abi.MSR_ENTRY.pack(msr, 0, 0))
    try:
        found = ioctl(fd, Ioctl.GET_MSRS, image)
    except OSError:
        return None
    return int(abi.MSR_ENTRY.unpack_from(image, 8)[2]) if found == 1 else None


def write_msr(fd: int, msr: int, value: int) -> bool:
    """Set one MSR; False where KVM does not take it."""
    try:
        taken: int = ioctl(fd, Ioctl.SET_MSRS, bytearray(abi.MSRS_HEAD.pack(1, 0) + abi.MSR_ENTRY.pack(msr, 0, value)))
    except OSError:
        return False
    return taken == 1


def takes_msr(fd: int, msr: int, value: int) -> bool:
    """Set one MSR; False where KVM refuses the value, and does not have it already."""
    return write_msr(fd, msr, value) or read_msr(fd, msr) == value


def set_general(cpu: _silicon.Cpu, values: Sequence[int]) -> None:
    """The general registers of a software CPU, in KVM's order."""
    write = cpu.write_register
    for reg, value in zip(GENERAL_ORDER, values, strict=True):
        write(reg, value)


class General:
    """RIP, RFLAGS and the sixteen general registers."""

    def __init__(self, fd: int, twin: _silicon.Cpu) -> None:
        self._fd, self._twin = fd, twin
        self._image = bytearray(abi.REGS.size)

    def pull(self) -> None:
        """KVM → twin."""
        set_general(self._twin, self.fetch())

    def push(self) -> None:
        """Twin → KVM."""
        ioctl(self._fd, Ioctl.SET_REGS, self.image())

    def fetch(self) -> tuple[int, ...]:
        """KVM's, in KVM's order: `behind` names the places."""
        ioctl(self._fd, Ioctl.GET_REGS, self._image)
        return abi.REGS.unpack(self._image)

    def image(self) -> bytes:
        """The twin's, as KVM has them."""
        read = self._twin.read_register
        return abi.REGS.pack(*[read(reg) for reg in GENERAL_ORDER])

    def merge(self, change: Callable[[], T]) -> T:
        """What `change` does to KVM's registers is done to the twin's, which have been written to meanwhile."""
        before = self.fetch()
        result = change()
        for reg, old, new in zip(GENERAL_ORDER, before, self.fetch(), strict=True):
            if old != new:
                self._twin.write_register(reg, new)
        return result


class System:
    """Segments, tables, control and debug registers, MSRs, XSAVE state, events."""

    def __init__(
        self, fd: int, twin: _silicon.Cpu, msrs: tuple[int, ...], run: memoryview, held: tuple[int, int] = (0, 0)
    ) -> None:
        self._fd, self._twin, self._msrs, self._run = fd, twin, msrs, run
        self.apic_base: int | None = None  # None: as KVM has it
        self._held_cr0, self._held_cr4 = held  # bits that the twin always has, and KVM's guest does not see

    def pull(self) -> None:
        """KVM → twin."""
        self.load_segments(self.read_segments())
        self.pull_rest()

    def pull_rest(self) -> None:
        """KVM → twin: all but segments, tables and control registers."""
        self._pull_msrs()
        self._pull_debug()
        self._pull_vector()
        self._pull_events()

    def push(self) -> None:
        """Twin → KVM. Raises BadArgument where KVM does not take it."""
        try:
            self._push_segments()
            self._push_msrs()
            self._push_debug()
            self._push_vector()
        except OSError as refused:
            raise BadArgument(f"KVM does not take this state: {refused}") from None
        self._push_events()

    def read_segments(self) -> bytearray:
        """KVM's segments, tables and control registers, as it has them."""
        image = bytearray(abi.SREGS2.size)
        ioctl(self._fd, Ioctl.GET_SREGS2, image)
        return image

    def load_segments(self, image: bytes | bytearray) -> None:
        """Such an image → twin."""
        *blocks, cr0, cr2, cr3, cr4, _, efer, _, flags, p0, p1, p2, p3 = abi.SREGS2.unpack(image)
        field, register = self._twin.write_vmcs, self._twin.write_register
        field(Vmcs.GUEST_EFER, efer)  # first: control registers are judged by it
        for block, fields in zip(blocks[:8], _SEGMENTS, strict=True):
            for number, value in zip(fields, _segment(block), strict=True):
                field(number, value)
        for block, fields2 in zip(blocks[8:], _TABLES, strict=True):
            for number, value in zip(fields2, abi.TABLE.unpack(block), strict=True):
                field(number, value)
        for reg, value in (
            (Reg.CR0, cr0 | self._held_cr0),
            (Reg.CR2, cr2),
            (Reg.CR3, cr3),
            (Reg.CR4, cr4 | self._held_cr4),
        ):
            register(reg, value)
        priority = unpack_from("<Q", self._run, abi.CR8_AT)[0]
        if self._twin.read_register(Reg.TPR) >> 4 != priority:  # a local APIC's has four bits more, which stay
            register(Reg.TPR, priority << 4)
        if flags & abi.SREGS2_PDPTRS_VALID:
            for pdpte, value in zip(_PDPTES, (p0, p1, p2, p3), strict=True):
                field(pdpte, value)

    def _push_segments(self) -> None:
        field, register = self._twin.read_vmcs, self._twin.read_register
        blocks = [_block(*(field(number) for number in fields)) for fields in _SEGMENTS]
        blocks += [abi.TABLE.pack(*(field(number) for number in fields)) for fields in _TABLES]
        controls = [register(reg) for reg in (Reg.CR0, Reg.CR2, Reg.CR3, Reg.CR4, Reg.TPR)]
        controls[3] &= ~self._held_cr4
        controls[4] >>= 4
        efer, apic_base = field(Vmcs.GUEST_EFER), self.apic_base
        if apic_base is None:
            apic_base = unpack_from("<Q", self._run, abi.APIC_BASE_AT)[0]
        pae = controls[0] & _PG_PAE[0] and controls[3] & _PG_PAE[1] and not efer >> 10 & 1
        pdptes = [field(pdpte) for pdpte in _PDPTES] if pae else [0] * 4
        flags = abi.SREGS2_PDPTRS_VALID if pae else 0
        ioctl(self._fd, Ioctl.SET_SREGS2, abi.SREGS2.pack(*blocks, *controls, efer, apic_base, flags, *pdptes))
        pack_into("<Q", self._run, abi.CR8_AT, controls[4])  # KVM takes it from here at each entry

    def _pull_msrs(self) -> None:
        entries = b"".join(abi.MSR_ENTRY.pack(msr, 0, 0) for msr in self._msrs)
        image = bytearray(abi.MSRS_HEAD.pack(len(self._msrs), 0) + entries)
        ioctl(self._fd, Ioctl.GET_MSRS, image)
        for msr, _, value in abi.MSR_ENTRY.iter_unpack(memoryview(image)[8:]):
            if msr in _FIELD_MSRS:
                self._twin.write_vmcs(_FIELD_MSRS[msr], value)
            else:
                self._twin.write_msr(msr, value)

    def _push_msrs(self) -> None:
        twin = self._twin
        for msr in self._msrs:
            value = twin.read_vmcs(_FIELD_MSRS[msr]) if msr in _FIELD_MSRS else twin.read_msr(msr)
            if not takes_msr(self._fd, msr, value):
                raise BadArgument(f"KVM does not take {value:#x} for MSR {msr:#x}")

    def _pull_debug(self) -> None:
        image = bytearray(abi.DEBUGREGS.size)
        ioctl(self._fd, Ioctl.GET_DEBUGREGS, image)
        for reg, value in zip(_DEBUG, abi.DEBUGREGS.unpack(image), strict=False):
            self._twin.write_register(reg, value)

    def _push_debug(self) -> None:
        values = [self._twin.read_register(reg) for reg in _DEBUG]
        ioctl(self._fd, Ioctl.SET_DEBUGREGS, abi.DEBUGREGS.pack(*values, 0))

    def _pull_vector(self) -> None:
        xcrs, image = bytearray(abi.XCRS_BYTES), bytearray(abi.XSAVE_BYTES)
        ioctl(self._fd, Ioctl.GET_XCRS, xcrs)
        self._twin.write_register(Reg.XCR0, abi.XCR.unpack_from(xcrs)[4])
        ioctl(self._fd, Ioctl.GET_XSAVE, image)
        before = bytearray(self._twin.read_xsave())
        there = unpack_from("<Q", image, _XSTATE_BV_AT)[0] & _COMPONENTS
        pack_into("<Q", image, _XSTATE_BV_AT, there)
        before[:_AVX_END] = image[: min(_AVX_END, len(before))]
        before[464:512] = bytes(48)  # room that belongs to software
        self._twin.write_xsave(bytes(before))

    def _push_vector(self) -> None:
        xcr0 = self._twin.read_register(Reg.XCR0)
        ioctl(self._fd, Ioctl.SET_XCRS, abi.XCR.pack(1, 0, 0, 0, xcr0).ljust(abi.XCRS_BYTES, b"\0"))
        image = bytearray(self._twin.read_xsave()[:_AVX_END].ljust(abi.XSAVE_BYTES, b"\0"))
        (there,) = unpack_from("<Q", image, _XSTATE_BV_AT)
        if there & ~_COMPONENTS:
            raise Unsupported(f"the kvm engine moves x87, SSE and AVX state only, not components {there:#x}")
        ioctl(self._fd, Ioctl.SET_XSAVE, image)

    def _pull_events(self) -> None:
        image = bytearray(abi.EVENTS.size)
        ioctl(self._fd, Ioctl.GET_VCPU_EVENTS, image)
        exc, vector, has_error, exc_waits, error, irq, number, soft, shadow, nmi, nmi_waits, masked, *_ = (
            abi.EVENTS.unpack(image)
        )
        field = self._twin.write_vmcs
        sti, mov_ss = bool(shadow & abi.SHADOW_STI), bool(shadow & abi.SHADOW_MOV_SS)
        field(Vmcs.GUEST_INTERRUPTIBILITY, sti | mov_ss << 1 | (1 << 3 if masked else 0))
        info = 0
        if exc or exc_waits:
            info = _VALID | Event.EXCEPTION << 8 | vector | (_ERROR if has_error else 0)
            field(Vmcs.ENTRY_EXCEPTION_ERROR, error)
        elif nmi or nmi_waits:
            info = _VALID | Event.NMI << 8 | 2
        elif irq and not soft:
            info = _VALID | Event.INTERRUPT << 8 | number
        field(Vmcs.ENTRY_INTERRUPTION_INFO, info)

    def _push_events(self) -> None:
        field = self._twin.read_vmcs
        info, blocking = field(Vmcs.ENTRY_INTERRUPTION_INFO), field(Vmcs.GUEST_INTERRUPTIBILITY)
        kind = info >> 8 & 7 if info & _VALID else None
        vector, error = info & 0xFF, field(Vmcs.ENTRY_EXCEPTION_ERROR) if info & _ERROR else 0
        if kind not in (None, Event.INTERRUPT, Event.NMI, Event.EXCEPTION):
            raise Unsupported(f"the kvm engine delivers interrupts, NMIs and exceptions, not events of kind {kind}")
        exc, irq, nmi = kind == Event.EXCEPTION, kind == Event.INTERRUPT, kind == Event.NMI
        shadow = (abi.SHADOW_STI if blocking & 1 else 0) | (abi.SHADOW_MOV_SS if blocking & 2 else 0)
        image = abi.EVENTS.pack(
            *(exc, vector if exc else 0, bool(info & _ERROR), 0, error),
            *(irq, vector if irq else 0, 0, shadow),
            *(0, nmi, bool(blocking & 8), 0),
            *(0, abi.EVENTS_SHADOW | abi.EVENTS_NMI_PENDING, 0, 0, 0, 0, 0, 0, 0),
        )
        ioctl(self._fd, Ioctl.SET_VCPU_EVENTS, image)
        self._twin.write_vmcs(Vmcs.ENTRY_INTERRUPTION_INFO, 0)


def _segment(block: bytes) -> tuple[int, int, int, int]:
    base, limit, selector, kind, present, dpl, db, s, l64, g, avl, unusable, _ = abi.SEGMENT.unpack(block)
    rights = kind | s << 4 | dpl << 5 | present << 7 | avl << 12 | l64 << 13 | db << 14 | g << 15
    return selector, base, limit, rights | (_UNUSABLE if unusable else 0)


def _block(selector: int, base: int, limit: int, rights: int) -> bytes:
    bit = [rights >> n & 1 for n in range(17)]
    kind, dpl = rights & 15, rights >> 5 & 3
    return abi.SEGMENT.pack(
        base, limit, selector, kind, bit[7], dpl, bit[14], bit[4], bit[13], bit[15], bit[12], bit[16], 0
    )
