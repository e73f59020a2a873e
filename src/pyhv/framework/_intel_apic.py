"""The interrupt controllers of HV_VM_ACCEL_APIC. Without that option every call is HV_UNSUPPORTED."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, SupportsIndex

from .._core.checks import integer
from .._core.interrupts import IRQS, PINS, Interrupts
from .._core.vcpu import VCpu
from ..errors import BadArgument, Busy, Unsupported
from . import _intel_constants as c
from ._process import any_vcpu, own_vcpu, the_vm
from ._status import implemented

_U32: Final = 0xFFFF_FFFF
_IO_APIC: Final = 0xFEC0_0000
_PAGE: Final = 0x1000
_PIC_PORTS: Final = (0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1)
_CASCADE: Final = 2
_FIRST_VECTOR: Final = 16
_BUS_HZ: Final = (16_000_000, 2_000_000_000)
_INSTRUCTION_BYTES: Final = 15
# Where the state begins behind the version, and its size.
_LOCAL_STATE: Final = (8, 240)
_IO_STATE: Final = (8, 272)
_PIC_STATE: Final = (4, 16)


def _all() -> Interrupts:
    return the_vm().interrupts


def _local(vcpu: SupportsIndex) -> VCpu:
    """The vCPU of the calling thread, in a VM with interrupt controllers."""
    cpu = own_vcpu(vcpu)
    _ = cpu.vm.interrupts
    return cpu


def _flag(name: str, value: SupportsIndex, known: int) -> int:
    number = integer(name, value)
    if number & ~known:
        raise BadArgument(f"{name} {number:#x} has bits that mean nothing: {number & ~known:#x}")
    return number


def _state_of(image: bytes | bytearray, version: int, layout: tuple[int, int]) -> tuple[int, int]:
    """Where the state lies in a struct whose version is checked."""
    start, size = layout
    if len(image) < start + size:
        raise BadArgument(f"the struct has {start + size} bytes, not {len(image)}")
    found = int.from_bytes(image[:4], "little")
    if found != version:
        raise BadArgument(f"the version in the struct is {found}; {version} is known")
    return start, start + size


# The local APICs, as devices and I/O APICs reach them.


@implemented
def hv_vm_lapic_set_intr(vcpu: SupportsIndex, vector: SupportsIndex, trig: SupportsIndex) -> None:
    """Deliver a vector (16 to 255) to the local APIC of a vCPU, from any thread.

    HV_APIC_EDGE_TRIGGER_AEOI: the guest does not end it. HV_BAD_ARGUMENT for another vector or trigger.
    """
    _all()
    number = integer("vector", vector, low=_FIRST_VECTOR, high=255)
    trigger = integer("trig", trig, high=int(c.HV_APIC_LEVEL_TRIGGER))
    any_vcpu(vcpu).engine.apic_post(number, trigger)


@implemented
def hv_vm_lapic_msi(addr: SupportsIndex, data: SupportsIndex) -> None:
    """Deliver a message-signalled interrupt to the vCPUs that its address names. One for nobody is lost.

    HV_BAD_ARGUMENT for an address that is none of such a message.
    """
    the_vm().interrupts.send_msi(addr, integer("data", data) & _U32)


# The I/O APIC.


def _pin(intin: SupportsIndex) -> int:
    return integer("intin", intin, high=PINS - 1)


@implemented
def hv_vm_ioapic_assert_irq(intin: SupportsIndex) -> None:
    """Raise a pin, 0 to 23, of the I/O APIC."""
    _all().engine.set_pin(_pin(intin), True)


@implemented
def hv_vm_ioapic_deassert_irq(intin: SupportsIndex) -> None:
    """Lower a pin of the I/O APIC."""
    _all().engine.set_pin(_pin(intin), False)


@implemented
def hv_vm_ioapic_pulse_irq(intin: SupportsIndex) -> None:
    """Raise and then lower a pin of the I/O APIC."""
    hub, pin = _all().engine, _pin(intin)
    hub.set_pin(pin, True)
    hub.set_pin(pin, False)


def _register(gpa: SupportsIndex) -> int:
    address = integer("gpa", gpa)
    if not _IO_APIC <= address < _IO_APIC + _PAGE:
        raise BadArgument(f"gpa {address:#x} is not on the page of the I/O APIC, {_IO_APIC:#x}")
    return address - _IO_APIC


@implemented
def hv_vm_ioapic_read(gpa: SupportsIndex) -> int:
    """The 32-bit register at a guest-physical address: select 0xFEC00000, window 0xFEC00010."""
    return _all().engine.io_read(_register(gpa))


@implemented
def hv_vm_ioapic_write(gpa: SupportsIndex, data: SupportsIndex) -> None:
    """Set the 32-bit register at a guest-physical address, as the guest's store would."""
    _all().engine.io_write(_register(gpa), integer("data", data, high=_U32))


@implemented
def hv_vm_ioapic_get_state(state: bytearray) -> None:
    """Fill an hv_ioapic_state_ext_t whose version is set. Of its 32 entries the first 24 have pins."""
    hub = _all().engine
    start, end = _state_of(state, c.HV_IOAPIC_STATE_EXT_VER, _IO_STATE)
    state[start:end] = hub.read_io_state()


@implemented
def hv_vm_ioapic_put_state(state: bytes) -> None:
    """Restore an hv_ioapic_state_ext_t while no vCPU runs. HV_BAD_ARGUMENT for one that cannot be."""
    hub = _all().engine
    start, end = _state_of(state, c.HV_IOAPIC_STATE_EXT_VER, _IO_STATE)
    hub.write_io_state(bytes(state[start:end]))


@implemented
def hv_vm_send_ioapic_intr(data: SupportsIndex) -> None:
    """Send what a 64-bit redirection entry describes; mask and remote IRR do not count."""
    _all().engine.send_entry(integer("data", data))


# The pair of 8259.


def _line(irq: SupportsIndex) -> int:
    number = integer("irq", irq, high=IRQS - 1)
    if number == _CASCADE:
        raise BadArgument("irq 2 is the line on which the second 8259 is")
    return number


@implemented
def hv_vm_atpic_assert_irq(irq: SupportsIndex) -> None:
    """Raise a line, 0 to 15 but 2, of the 8259 pair."""
    _all().engine.set_pic_line(_line(irq), True)


@implemented
def hv_vm_atpic_deassert_irq(irq: SupportsIndex) -> None:
    """Lower a line of the 8259 pair."""
    _all().engine.set_pic_line(_line(irq), False)


def _port(port: SupportsIndex) -> int:
    number = integer("port", port, high=0xFFFF)
    if number not in _PIC_PORTS:
        raise BadArgument(f"port {number:#x} is none of the 8259 pair: {', '.join(hex(one) for one in _PIC_PORTS)}")
    return number


@implemented
def hv_vm_atpic_port_read(port: SupportsIndex) -> int:
    """What the guest's IN from a port of the 8259 pair reads; a poll acknowledges."""
    return _all().engine.pic_read(_port(port))


@implemented
def hv_vm_atpic_port_write(port: SupportsIndex, value: SupportsIndex) -> None:
    """Do the guest's OUT to a port of the 8259 pair."""
    _all().engine.pic_write(_port(port), integer("value", value, high=0xFF))


@implemented
def hv_vm_atpic_get_state(state: bytearray, is_primary: bool) -> None:
    """Fill an hv_atpic_state_ext_t whose version is set."""
    hub = _all().engine
    start, end = _state_of(state, c.HV_ATPIC_STATE_EXT_VER, _PIC_STATE)
    state[start:end] = hub.read_pic_state(bool(is_primary))


@implemented
def hv_vm_atpic_put_state(state: bytes, is_primary: bool) -> None:
    """Restore an hv_atpic_state_ext_t while no vCPU runs."""
    hub = _all().engine
    start, end = _state_of(state, c.HV_ATPIC_STATE_EXT_VER, _PIC_STATE)
    hub.write_pic_state(bool(is_primary), bytes(state[start:end]))


# The local APIC of the calling thread's vCPU.


@implemented
def hv_vm_set_apic_bus_freq(freq: SupportsIndex) -> None:
    """Let the timers of all local APICs count at `freq` Hz, 16 MHz to 2 GHz; 25 MHz without.

    HV_BAD_ARGUMENT beyond, HV_BUSY while the VM has a vCPU.
    """
    hub = _all().engine
    low, high = _BUS_HZ
    number = integer("freq", freq, low=low, high=high)
    if the_vm().vcpus():
        raise Busy("the VM has vCPUs, whose timers may count; set the frequency before the first")
    hub.set_bus_hz(number)


@implemented
def hv_vcpu_inject_extint(vcpu: SupportsIndex) -> None:
    """Let the vCPU take an interrupt from the 8259 pair as soon as it can. HV_BUSY while one is queued."""
    if not _local(vcpu).engine.apic_ext_int():
        raise Busy("an external interrupt is queued already, and only one can be")


def _offset(offset: SupportsIndex) -> int:
    number = integer("offset", offset, high=_PAGE - 1)
    if number % 16:
        raise BadArgument(f"offset {number:#x} is not a register's: they lie 16 bytes apart")
    return number


@implemented
def hv_vcpu_apic_read(vcpu: SupportsIndex, offset: SupportsIndex) -> int:
    """The local APIC's register at a byte offset into its page, whatever its mode."""
    return _local(vcpu).engine.apic_read(_offset(offset))


@implemented
def hv_vcpu_apic_write(vcpu: SupportsIndex, offset: SupportsIndex, data: SupportsIndex) -> bool:
    """Set the local APIC's register at a byte offset, as the guest's store would.

    False: hv_vcpu_exit_info tells what the caller has to finish.
    """
    return _local(vcpu).engine.apic_write(_offset(offset), integer("data", data, high=_U32))


@implemented
def hv_vcpu_apic_get_state(vcpu: SupportsIndex, state: bytearray) -> None:
    """Fill an hv_apic_state_ext_t whose version is set."""
    engine = _local(vcpu).engine
    start, end = _state_of(state, c.HV_APIC_STATE_EXT_VER, _LOCAL_STATE)
    state[start:end] = engine.read_apic()[: _LOCAL_STATE[1]]


@implemented
def hv_vcpu_apic_put_state(vcpu: SupportsIndex, state: bytes) -> None:
    """Restore an hv_apic_state_ext_t of a vCPU with the same id and APIC mode (IA32_APIC_BASE) while the VM stands."""
    engine = _local(vcpu).engine
    start, end = _state_of(state, c.HV_APIC_STATE_EXT_VER, _LOCAL_STATE)
    engine.write_apic(bytes(state[start:end]))


def _check_instruction(
    ilen: SupportsIndex, cs: SupportsIndex, uva: Sequence[SupportsIndex], count: SupportsIndex
) -> None:
    integer("ilen", ilen, low=1, high=_INSTRUCTION_BYTES)
    integer("cs", cs, high=0xFFFF)
    number = integer("count", count, high=2)
    if number > len(uva):
        raise BadArgument(f"count is {number}, but there are {len(uva)} addresses")
    for address in uva[:number]:
        if integer("uva", address) % _PAGE:
            raise BadArgument(f"uva {int(address):#x} is not a page's")


@implemented
def hv_vcpu_apic_lsc_enter_r32(  # noqa: PLR0917 - Apple's own order
    vcpu: SupportsIndex,
    is_load: bool,
    rip: SupportsIndex,
    ilen: SupportsIndex,
    cs: SupportsIndex,
    reg: SupportsIndex,
    uva: Sequence[SupportsIndex],
    count: SupportsIndex,
) -> None:
    """Arguments are checked, and that is all: the software CPU does every access to the APIC page itself, and no exit
    is left that this would save.
    """
    _local(vcpu)
    integer("rip", rip)
    integer("reg", reg, low=int(c.HV_X86_RAX), high=int(c.HV_X86_R15))
    _check_instruction(ilen, cs, uva, count)


@implemented
def hv_vcpu_apic_lsc_enter_imm32(  # noqa: PLR0917 - Apple's own order
    vcpu: SupportsIndex,
    rip: SupportsIndex,
    ilen: SupportsIndex,
    cs: SupportsIndex,
    imm32: SupportsIndex,
    uva: Sequence[SupportsIndex],
    count: SupportsIndex,
) -> None:
    """As hv_vcpu_apic_lsc_enter_r32, for the store of a constant."""
    _local(vcpu)
    integer("rip", rip)
    integer("imm32", imm32, high=_U32)
    _check_instruction(ilen, cs, uva, count)


@implemented
def hv_vcpu_apic_lsc_invalidate(vcpu: SupportsIndex) -> None:
    """Nothing is remembered, so nothing is dropped."""
    _local(vcpu)


@implemented
def hv_vcpu_apic_ctrl(vcpu: SupportsIndex, ctrls: SupportsIndex) -> None:
    """Choose among HV_APIC_CTRL_*. The MSRs are EOI 0x40000070, ICR 0x40000071, TPR 0x40000072, idle 0x400000F0."""
    known = c.HV_APIC_CTRL_EOI_ICR_TPR | c.HV_APIC_CTRL_GUEST_IDLE | c.HV_APIC_CTRL_NO_TIMER | c.HV_APIC_CTRL_IOAPIC_EOI
    _local(vcpu).engine.apic_controls(_flag("ctrls", ctrls, int(known)))


@implemented
def hv_vcpu_apic_trigger_lvt(vcpu: SupportsIndex, flavor: SupportsIndex) -> None:
    """Interrupt by the timer's entry of the local vector table, as if it were due. HV_UNSUPPORTED for another entry."""
    engine = _local(vcpu).engine
    if integer("flavor", flavor, high=_U32) != c.HV_APIC_LVT_FLAVOR_TIMER:
        raise Unsupported(f"flavor {flavor}: only HV_APIC_LVT_FLAVOR_TIMER (1) can be triggered")
    engine.apic_trigger_timer()
