"""The state of a vCPU with raw exits: Apple's functions read and write a VMCS, and the twin is one.

Three parts go stale at a run of KVM and come back when they are asked for: the general registers, the segments with
tables and control registers, and the rest.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from fcntl import ioctl
from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...arch.x86_64.msrs import MSRS
from ...arch.x86_64.registers import GENERAL, Reg
from ...arch.x86_64.vmcs import CONTROL_WORDS, ENTRY_IA32E, Cap, CpuBased, Vmcs, segment_fields
from ...errors import Unsupported
from . import abi
from .abi import Ioctl
from .behind import Mode
from .capabilities import NO_INTERCEPT, capability, check_control
from .state import TSC, System, read_msr
from .synced import Synced
from .vcpu import KvmVcpu

if TYPE_CHECKING:
    from .vm import KvmVm, Leaf, Seat

_NE: Final = 1 << 5
_LMA, _L, _D = 1 << 10, 1 << 13, 1 << 14
_VALID: Final = 1 << 31
_CS, _SS = segment_fields("cs"), segment_fields("ss")
_RIP, _RSP, _RFLAGS, _DR7 = 0x681E, 0x681C, 0x6820, 0x681A
_GENERAL: Final = frozenset(int(reg) for reg in GENERAL)
_GENERAL_FIELDS: Final = frozenset({_RIP, _RSP, _RFLAGS})
_REST_FIELDS: Final = frozenset(
    {
        *(Vmcs.GUEST_DEBUGCTL, Vmcs.GUEST_PAT, Vmcs.GUEST_INTERRUPTIBILITY, Vmcs.GUEST_SYSENTER_CS),
        *(Vmcs.GUEST_SYSENTER_ESP, Vmcs.GUEST_SYSENTER_EIP, _DR7),
    }
)
_REST: Final = frozenset({Reg.DR0, Reg.DR1, Reg.DR2, Reg.DR3, Reg.DR6, Reg.DR7, Reg.XCR0})
_INVPCID: Final = 1 << 10  # of EBX in CPUID leaf 7
_LOW: Final = 0xFFFF_FFFF  # of a capability word: what must be 1
_U64: Final = (1 << 64) - 1


def _is_guest_state(field: int) -> bool:
    """SDM vol. 3D, "Field Encoding in VMCS": bits 11:10 are 2."""
    return field >> 10 & 3 == 2


class RawFields(KvmVcpu):
    """State access; `RawVcpu` adds running."""

    fields_kept_zero = frozenset(NO_INTERCEPT) - {int(Vmcs.TSC_OFFSET)}

    def __init__(self, vm: KvmVm, seat: Seat, twin: _silicon.Cpu) -> None:
        super().__init__(vm, seat, twin)
        self._system = System(seat.fd, twin, _kept_in_kvm(vm.msrs), seat.run, (_NE, capability(Cap.CR4_FIXED0)))
        self._synced = Synced(seat, vm.system)
        self._stale_segments = False
        self._segments = b""  # KVM's, as the twin has them
        self._mode = Mode(16, 16, 0)
        self._unchecked = True  # something was written that an entry looks at
        self._reason = 0
        for field, word in CONTROL_WORDS.items():
            twin.write_vmcs(field, twin.read_vmcs(field) | capability(word) & _LOW)

    # Between KVM and the twin.

    def pull_code(self) -> None:
        """The twin could fetch and execute what stands at RIP."""
        if self._stale and self._stale_system:
            self.twin.write_vmcs(Vmcs.GUEST_INTERRUPTIBILITY, 0)  # an old one may not go with the new RFLAGS
        self.pull()
        if not self._stale_segments:
            return
        image = self._synced.segments()
        self._stale_segments = False
        if image != self._segments:
            self._segments = image
            self._system.load_segments(image)
            self._look_at_mode()

    def pull_all(self) -> None:
        """The twin is the guest."""
        self.pull_code()
        if not self._stale_system:
            return
        twin = self.twin
        fields = (Vmcs.ENTRY_INTERRUPTION_INFO, Vmcs.ENTRY_EXCEPTION_ERROR)
        before = [twin.read_vmcs(field) for field in fields]
        self._system.pull_rest()
        self._stale_system = False
        if twin.read_vmcs(fields[0]) & _VALID:  # KVM was about to deliver an event: it is delivered
            self._deliver()
        for field, value in zip(fields, before, strict=True):
            twin.write_vmcs(field, value)

    def _deliver(self) -> None:
        self.twin.kick()
        self.twin.run_raw()
        self.twin.note_exit(self._reason)
        self._dirty = self._dirty_system = True

    def touch_all(self) -> None:
        """The twin is about to be changed."""
        self.pull_all()
        self._dirty = self._dirty_system = self._unchecked = True

    def _look_at_mode(self) -> None:
        """After segments have changed: how code is read, and the control that goes with EFER.LMA."""
        read = self.twin.read_vmcs
        rights, long = read(_CS[3]), bool(read(Vmcs.GUEST_EFER) & _LMA)
        bits = 64 if long and rights & _L else 32 if rights & _D else 16
        stack = 64 if bits == 64 else 32 if read(_SS[3]) & _D else 16
        self._mode = Mode(bits, stack, read(_CS[1]))
        entry = read(Vmcs.ENTRY_CONTROLS)
        wanted = entry | ENTRY_IA32E if long else entry & ~ENTRY_IA32E
        if entry != wanted:
            self.twin.write_vmcs(Vmcs.ENTRY_CONTROLS, wanted)

    def push_all(self) -> None:
        """KVM has the twin's state; nothing of an access may be left in it."""
        info = self.twin.read_vmcs(Vmcs.ENTRY_INTERRUPTION_INFO)
        self._system.push()
        self.twin.write_vmcs(Vmcs.ENTRY_INTERRUPTION_INFO, info)
        self._segments = b""
        self._dirty_system = False

    def _set_tsc(self, offset: int) -> None:
        """Make the guest's TSC the clock plus an offset. Unsupported where this KVM gives its guests the host's."""
        value = ctypes.c_uint64()
        image = abi.DEVICE_ATTR.pack(0, abi.VCPU_TSC_CTRL, abi.VCPU_TSC_OFFSET, ctypes.addressof(value))
        ioctl(self.fd, Ioctl.GET_DEVICE_ATTR, image)
        value.value += self._clock_tsc() + offset - (read_msr(self.fd, TSC) or 0)
        ioctl(self.fd, Ioctl.SET_DEVICE_ATTR, image)
        off = (read_msr(self.fd, TSC) or 0) - self._clock_tsc() - offset & _U64
        if min(off, -off & _U64) > self.vm.clock.tsc_hz:
            raise Unsupported(
                "this KVM gives its guests the host's TSC, without an offset (one that is emulated does); the soft"
                " engine has one"
            )

    def _clock_tsc(self) -> int:
        clock = self.vm.clock
        return clock.now_ns * clock.tsc_hz // 1_000_000_000

    # The protocol.

    def read_register(self, reg: int) -> int:
        """A register by its HV_X86_ number."""
        self._idle()
        if reg in _GENERAL:
            self.pull()
        elif reg in _REST:
            self.pull_all()
        else:
            self.pull_code()
        return self.twin.read_register(reg)

    def write_register(self, reg: int, value: int) -> None:
        """Set one."""
        self._idle()
        if reg in _GENERAL:
            if self._stale:
                self.pull()
            self._dirty = True
        else:
            self.touch_all()
        self.twin.write_register(reg, value)

    def read_vmcs(self, field: int) -> int:
        """A VMCS field."""
        self._idle()
        if field in _REST_FIELDS:
            self.pull_all()
        elif field in _GENERAL_FIELDS:
            self.pull()
        elif _is_guest_state(field) or field == Vmcs.ENTRY_CONTROLS:
            self.pull_code()
        return self.twin.read_vmcs(field)

    def write_vmcs(self, field: int, value: int) -> None:
        """Set one. Unsupported where KVM cannot do what it asks for."""
        self._idle()
        if value and field in self.fields_kept_zero:
            raise Unsupported(
                f"KVM cannot intercept {NO_INTERCEPT[field]}: field {field:#x} must be 0; the soft engine does"
            )
        if field in CONTROL_WORDS:
            check_control(field, value)
        if field in _GENERAL_FIELDS:
            self.pull()
            self._dirty = True
        elif _is_guest_state(field):
            self.touch_all()
        elif field == Vmcs.ENTRY_CONTROLS:
            self.pull_code()
        elif field == Vmcs.TSC_OFFSET:
            self._set_tsc(value)
        self.twin.write_vmcs(field, value)
        self._unchecked |= field not in _GENERAL_FIELDS

    def write_own_msr(self, msr: int, value: int) -> None:
        """For the guest too."""
        if msr == TSC:
            self.write_vmcs(Vmcs.TSC_OFFSET, value - self._clock_tsc() & _U64)
        else:
            super().write_own_msr(msr, value)

    def msr_exits(self, msr: int, exits: bool) -> None:
        """Let accesses of one MSR leave, or not: Apple's native MSRs."""
        self._idle()
        self.twin.msr_exits(msr, exits)

    def set_cpuid(self, leaves: list[Leaf]) -> None:
        """What CPUID answers: without INVPCID, whose control must be 0."""
        super().set_cpuid(list(_without_invpcid(leaves)))

    def read_shadow_vmcs(self, field: int) -> int:
        """The guest reaches none of them: the control of VMREAD and VMWRITE must be 0."""
        self._idle()
        return self.twin.read_shadow_vmcs(field)

    def write_shadow_vmcs(self, field: int, value: int) -> None:
        """Kept."""
        self._idle()
        self.twin.write_shadow_vmcs(field, value)

    def set_shadow_access(self, field: int, flags: int) -> None:
        """Kept."""
        self._idle()
        self.twin.set_shadow_access(field, flags)

    def bind_msr(self, msr: int, bound: bool) -> None:
        """A managed MSR."""
        self._idle()
        self.twin.bind_msr(msr, bound)

    def set_msr_access(self, msr: int, flags: int) -> None:
        """What the guest may do with it without an exit."""
        self._idle()
        self.twin.set_msr_access(msr, flags)

    def read_granted(self) -> bytes:
        """All of this as the twin has it."""
        self._idle()
        return self.twin.read_granted()

    def write_granted(self, image: bytes) -> None:
        """All of it again."""
        self._idle()
        self.twin.write_granted(image)

    @property
    def unanswered(self) -> bool:
        """Raw exits have no answers."""
        return False

    @property
    def wants_window(self) -> bool:
        """Whether the client waits for the guest to be interruptible."""
        return bool(self.twin.read_vmcs(Vmcs.CPU_BASED) & CpuBased.INTERRUPT_WINDOW)


def _kept_in_kvm(msrs: Iterable[int]) -> tuple[int, ...]:
    """All accesses of the guest come to the twin, and SPEC_CTRL not every KVM keeps."""
    return tuple(msr for msr in msrs if msr != MSRS["SPEC_CTRL"])


def _without_invpcid(leaves: Iterable[Leaf]) -> Iterable[Leaf]:
    for leaf, subleaf, eax, ebx, ecx, edx in leaves:
        yield leaf, subleaf, eax, ebx & ~_INVPCID if (leaf, subleaf) == (7, 0) else ebx, ecx, edx
