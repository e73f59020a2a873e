"""KVM's numbers and structs, in the order of the kernel's headers. Linux: linux/kvm.h, asm/kvm.h; API version 12."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

_KVMIO: Final = 0xAE
_WRITE, _READ = 1, 2


def _request(direction: int, number: int, size: int = 0) -> int:
    """An ioctl request number: direction in bits 31:30, size of the argument in 29:16. Linux: asm-generic/ioctl.h."""
    return direction << 30 | size << 16 | _KVMIO << 8 | number


# Structs.

USER_MEMORY_REGION: Final = Struct("<IIQQQ")  # slot, flags, GPA, bytes, host address
DIRTY_LOG: Final = Struct("<IxxxxQ")  # slot, address of the bitmap
REGS: Final = Struct("<18Q")
SEGMENT: Final = Struct("<QIH10B")  # base, limit, selector, type present dpl db s l g avl unusable padding
TABLE: Final = Struct("<QH6x")
SREGS2: Final = Struct("<" + "24s" * 8 + "16s" * 2 + "5Q" + "QQQ" + "4Q")
SREGS2_PDPTRS_VALID: Final = 1
SREGS2_COMMON_BYTES: Final = 280  # up to apic_base: as in kvm_sregs, which KVM_RUN leaves
MSRS_HEAD: Final = Struct("<II")
MSR_ENTRY: Final = Struct("<IIQ")
CPUID_ENTRY: Final = Struct("<7I12x")  # leaf, subleaf, flags, EAX, EBX, ECX, EDX
DEBUGREGS: Final = Struct("<4QQQQ72x")  # DR0 to DR3, DR6, DR7, flags
XCRS_BYTES: Final = 392
XCR: Final = Struct("<II IIQ")  # count, flags; then number, reserved, value of the first
XSAVE_BYTES: Final = 4096
EVENTS: Final = Struct("<4BI 4B 4B I I 4B B 26x BQ")
GUEST_DEBUG: Final = Struct("<II8Q")
ENABLE_CAP: Final = Struct("<II4Q64x")
MSR_FILTER_RANGE: Final = Struct("<IIIxxxxQ")  # flags, how many, first, address of the bitmap
MSR_FILTER_RANGES: Final = 16
MSR_FILTER_HEAD: Final = Struct("<I4x")
MSR_FILTER_DENY: Final = 1  # what no range names
MSR_FILTER_BYTES: Final = 8 + MSR_FILTER_RANGES * MSR_FILTER_RANGE.size
DEVICE_ATTR: Final = Struct("<IIQQ")  # flags, group, attribute, address of the value
VCPU_TSC_CTRL: Final = 0  # a group
VCPU_TSC_OFFSET: Final = 0  # its attribute
TRANSLATION_BYTES: Final = 24


class Ioctl(IntEnum):
    """Requests: of the system, of a VM, of a vCPU."""

    GET_API_VERSION = _request(0, 0x00)
    CREATE_VM = _request(0, 0x01)
    CHECK_EXTENSION = _request(0, 0x03)
    GET_VCPU_MMAP_SIZE = _request(0, 0x04)
    GET_SUPPORTED_CPUID = _request(_READ | _WRITE, 0x05, 8)

    CREATE_VCPU = _request(0, 0x41)
    GET_DIRTY_LOG = _request(_WRITE, 0x42, DIRTY_LOG.size)
    SET_USER_MEMORY_REGION = _request(_WRITE, 0x46, USER_MEMORY_REGION.size)
    SET_TSS_ADDR = _request(0, 0x47)
    SET_IDENTITY_MAP_ADDR = _request(_WRITE, 0x48, 8)
    ENABLE_CAP = _request(_WRITE, 0xA3, ENABLE_CAP.size)
    X86_SET_MSR_FILTER = _request(_WRITE, 0xC6, MSR_FILTER_BYTES)

    RUN = _request(0, 0x80)
    GET_REGS = _request(_READ, 0x81, REGS.size)
    SET_REGS = _request(_WRITE, 0x82, REGS.size)
    GET_MSRS = _request(_READ | _WRITE, 0x88, 8)
    SET_MSRS = _request(_WRITE, 0x89, 8)
    INTERRUPT = _request(_WRITE, 0x86, 4)
    SET_SIGNAL_MASK = _request(_WRITE, 0x8B, 4)
    SET_CPUID2 = _request(_WRITE, 0x90, 8)
    NMI = _request(0, 0x9A)
    SET_GUEST_DEBUG = _request(_WRITE, 0x9B, GUEST_DEBUG.size)
    GET_VCPU_EVENTS = _request(_READ, 0x9F, EVENTS.size)
    SET_VCPU_EVENTS = _request(_WRITE, 0xA0, EVENTS.size)
    GET_DEBUGREGS = _request(_READ, 0xA1, DEBUGREGS.size)
    SET_DEBUGREGS = _request(_WRITE, 0xA2, DEBUGREGS.size)
    GET_TSC_KHZ = _request(0, 0xA3)
    GET_XSAVE = _request(_READ, 0xA4, XSAVE_BYTES)
    SET_XSAVE = _request(_WRITE, 0xA5, XSAVE_BYTES)
    GET_XCRS = _request(_READ, 0xA6, XCRS_BYTES)
    SET_XCRS = _request(_WRITE, 0xA7, XCRS_BYTES)
    SET_DEVICE_ATTR = _request(_WRITE, 0xE1, DEVICE_ATTR.size)
    GET_DEVICE_ATTR = _request(_WRITE, 0xE2, DEVICE_ATTR.size)
    GET_SREGS2 = _request(_READ, 0xCC, SREGS2.size)
    SET_SREGS2 = _request(_WRITE, 0xCD, SREGS2.size)


class Cap(IntEnum):
    """What KVM_CHECK_EXTENSION is asked for."""

    USER_MEMORY = 3
    USER_NMI = 22
    SET_GUEST_DEBUG = 23
    VCPU_EVENTS = 41
    DEBUGREGS = 50
    XSAVE = 55
    XCRS = 56
    MAX_VCPUS = 66
    SYNC_REGS = 74
    READONLY_MEM = 81
    IMMEDIATE_EXIT = 136
    X86_USER_SPACE_MSR = 188
    X86_MSR_FILTER = 189
    SREGS2 = 200
    DISABLE_QUIRKS2 = 213


class Why(IntEnum):
    """kvm_run.exit_reason."""

    UNKNOWN = 0
    EXCEPTION = 1
    IO = 2
    HYPERCALL = 3
    DEBUG = 4
    HLT = 5
    MMIO = 6
    IRQ_WINDOW_OPEN = 7
    SHUTDOWN = 8
    FAIL_ENTRY = 9
    INTR = 10
    SET_TPR = 11
    INTERNAL_ERROR = 17
    SYSTEM_EVENT = 24
    X86_RDMSR = 29
    X86_WRMSR = 30


class Debug(IntFlag):
    """kvm_guest_debug.control."""

    ENABLE = 1
    SINGLE_STEP = 2
    USE_HW_BP = 0x2_0000
    BLOCK_IRQ = 0x10_0000


QUIRK_FIX_HYPERCALL: Final = 1 << 5  # KVM writes its own hypercall instruction over the guest's
MEM_LOG_DIRTY_PAGES: Final = 1
MEM_READONLY: Final = 2
CPUID_SIGNIFICANT_INDEX: Final = 1
MSR_REASON_ALL: Final = 1 | 2 | 4  # kvm_run.msr.reason: invalid, unknown, filtered
MSR_FILTER_BOTH: Final = 3  # reads and writes
EVENTS_SHADOW: Final = 4  # kvm_vcpu_events.flags: interrupt.shadow holds
EVENTS_NMI_PENDING: Final = 1
SHADOW_MOV_SS, SHADOW_STI = 1, 2

# kvm_run: what stands where.

REQUEST_WINDOW_AT: Final = 0
IMMEDIATE_EXIT_AT: Final = 1
REASON_AT: Final = 8
READY_FOR_INTERRUPT_AT: Final = 12
IF_AT: Final = 13
CR8_AT: Final = 16
APIC_BASE_AT: Final = 24
UNION_AT: Final = 32
SYNC_VALID_AT: Final = 288  # what KVM_RUN is to leave and has to take: bits of KVM_SYNC_X86_REGS, KVM_SYNC_X86_SREGS
SYNC_DIRTY_AT: Final = 296
SYNC_REGS_AT: Final = 304  # kvm_regs, then kvm_sregs
RECORD: Final = Struct("<I20x QQIB")  # from REASON_AT on: reason, then as in MMIO; two words of whatever else it is
IO: Final = Struct("<BBHIQ")  # 0 in 1 out, bytes, port, count, offset of the data
MMIO: Final = Struct("<QQIB")  # GPA, data, bytes, is it a write
MMIO_DATA_AT: Final = UNION_AT + 8
MSR: Final = Struct("<B7xIIQ")  # error, reason, number, data
MSR_DATA_AT: Final = UNION_AT + 16
DEBUG_EXIT: Final = Struct("<IIQQQ")  # exception, padding, linear RIP, DR6, DR7
INTERNAL: Final = Struct("<II")  # suberror, how many words of detail
