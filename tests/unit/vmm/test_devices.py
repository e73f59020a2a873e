"""Devices alone, by their data sheets."""

from __future__ import annotations

from datetime import datetime

import pytest

from pyhv.vmm.console import BytesSource, Capture
from pyhv.vmm.devices.cmos import Cell, Cmos
from pyhv.vmm.devices.debug_port import DebugPort
from pyhv.vmm.devices.exit_port import ExitPort
from pyhv.vmm.devices.line import Line
from pyhv.vmm.devices.pic import EdgeLevel, PicPair
from pyhv.vmm.devices.pit import HZ, Pit8254
from pyhv.vmm.devices.serial import Register, Uart16550
from pyhv.vmm.devices.system_control import PciPorts, SystemControlA, SystemControlB

# The UART


def uart(typed: bytes = b"") -> tuple[Uart16550, Capture, Line]:
    sink, line = Capture(), Line()
    return Uart16550(sink, BytesSource(typed), line), sink, line


def test_held_back_until_the_guest_wants_it() -> None:
    """A driver's start reads the receive register to empty it; what is typed before must not be lost."""
    device = Uart16550(Capture(), BytesSource(b"ab"), Line(), holds_back=True)
    for _ in range(20):
        device.read(Register.LINE_STATUS, 1)
        device.write(Register.DATA, 1, 0x2E)  # a kernel's console, which only writes
    assert device.read(Register.DATA, 1) == 0
    device.write(Register.INTERRUPT_ENABLE, 1, 1)
    assert device.read(Register.DATA, 1) == ord("a")
    device.write(Register.INTERRUPT_ENABLE, 1, 0)
    assert device.read(Register.LINE_STATUS, 1) == 0x60
    assert any(device.read(Register.LINE_STATUS, 1) == 0x61 for _ in range(100))  # one that asks for input
    assert device.read(Register.DATA, 1) == ord("b")


def test_a_byte_written_is_sent() -> None:
    device, sink, _ = uart()
    for byte in b"hi":
        device.write(Register.DATA, 1, byte)
    assert sink.data == b"hi"
    assert device.read(Register.LINE_STATUS, 1) == 0x60


def test_typed_bytes_are_received_in_order() -> None:
    device, _, _ = uart(b"ab")
    assert device.read(Register.LINE_STATUS, 1) == 0x61
    assert [device.read(Register.DATA, 1) for _ in range(2)] == [0x61, 0x62]
    assert device.read(Register.LINE_STATUS, 1) == 0x60


def test_the_divisor_hides_data_and_interrupt_enable() -> None:
    device, sink, _ = uart(b"x")
    device.write(Register.LINE_CONTROL, 1, 0x83)
    device.write(Register.DATA, 1, 0x0C)
    device.write(Register.INTERRUPT_ENABLE, 1, 0x01)
    assert (device.read(Register.DATA, 1), device.read(Register.INTERRUPT_ENABLE, 1)) == (0x0C, 0x01)
    device.write(Register.LINE_CONTROL, 1, 0x03)
    assert sink.data == b""
    assert device.read(Register.INTERRUPT_ENABLE, 1) == 0
    assert device.read(Register.DATA, 1) == ord("x")


def test_received_bytes_interrupt_when_asked_and_out2_is_on() -> None:
    device, _, line = uart(b"x")
    device.write(Register.INTERRUPT_ENABLE, 1, 0x01)
    assert not line.level
    device.write(Register.MODEM_CONTROL, 1, 0x08)
    assert line.level
    assert device.read(Register.INTERRUPT_ID, 1) == 0x04
    device.read(Register.DATA, 1)
    assert not line.level
    assert device.read(Register.INTERRUPT_ID, 1) == 0x01


def test_an_empty_transmitter_interrupts_once_until_the_next_byte() -> None:
    device, _, line = uart()
    device.write(Register.MODEM_CONTROL, 1, 0x08)
    device.write(Register.INTERRUPT_ENABLE, 1, 0x02)
    assert line.level
    assert device.read(Register.INTERRUPT_ID, 1) == 0x02
    assert not line.level
    assert device.read(Register.INTERRUPT_ID, 1) == 0x01
    device.write(Register.DATA, 1, 0x41)
    assert line.level


def test_loopback_returns_what_was_sent_and_shows_modem_control() -> None:
    device, sink, _ = uart()
    device.write(Register.MODEM_CONTROL, 1, 0x10 | 0x0B)
    device.write(Register.DATA, 1, 0xAE)
    assert device.read(Register.DATA, 1) == 0xAE
    assert device.read(Register.MODEM_STATUS, 1) == 0xB0
    assert sink.data == b""


def test_fifos_show_in_the_identification_and_scratch_keeps() -> None:
    device, _, _ = uart()
    device.write(Register.INTERRUPT_ID, 1, 0x07)
    device.write(Register.SCRATCH, 1, 0x5A)
    assert device.read(Register.INTERRUPT_ID, 1) == 0xC1
    assert device.read(Register.SCRATCH, 1) == 0x5A


# Debug and exit ports


def test_the_debug_port_prints_and_shows_itself() -> None:
    sink = Capture()
    port = DebugPort(sink)
    port.write(0, 1, 0x41)
    assert (port.read(0, 1), sink.data) == (0xE9, b"A")


def test_the_exit_port_tells_the_value() -> None:
    values: list[int] = []
    ExitPort(values.append).write(0, 4, 0x1234)
    assert values == [0x1234]


# CMOS


def cell(device: Cmos, index: int) -> int:
    device.write(0, 1, index)
    return device.read(1, 1)


def word(device: Cmos, low: int) -> int:
    return cell(device, low) | cell(device, low + 1) << 8


def test_memory_sizes_of_64_mib() -> None:
    device = Cmos(64 << 20)
    assert word(device, Cell.BASE_LOW) == 640
    assert word(device, Cell.EXTENDED_LOW) == word(device, Cell.EXTENDED2_LOW) == 63 * 1024
    assert word(device, Cell.ABOVE_16M_LOW) == 48 * 16


def test_memory_above_4_gib_and_saturation() -> None:
    device = Cmos(3 << 30, 5 << 30)
    assert word(device, Cell.EXTENDED_LOW) == 0xFFFF
    assert word(device, Cell.ABOVE_16M_LOW) == ((3 << 30) - (16 << 20)) >> 16
    assert word(device, Cell.ABOVE_4G_LOW) | cell(device, Cell.ABOVE_4G_HIGH) << 16 == (5 << 30) >> 16


def test_the_clock_in_bcd_and_in_binary_and_in_12_hours() -> None:
    device = Cmos(1 << 20, now=lambda: datetime(2026, 11, 21, 13, 45, 59))
    assert [cell(device, c) for c in (0, 2, 4, 7, 8, 9, 0x32)] == [0x59, 0x45, 0x13, 0x21, 0x11, 0x26, 0x20]
    device.write(0, 1, Cell.STATUS_B)
    device.write(1, 1, 0x06)
    assert [cell(device, c) for c in (0, 2, 4)] == [59, 45, 13]
    device.write(0, 1, Cell.STATUS_B)
    device.write(1, 1, 0x00)
    assert cell(device, Cell.HOURS) == 0x81


def test_status_registers_and_free_cells() -> None:
    device = Cmos(1 << 20)
    assert not cell(device, Cell.STATUS_A) & 0x80
    assert cell(device, Cell.STATUS_D) == 0x80
    device.write(0, 1, 0x80 | 0x40)  # bit 7 is the NMI mask, not part of the index
    device.write(1, 1, 0x77)
    assert cell(device, 0x40) == 0x77


# The interrupt controllers


def pair(mask: int = 0) -> PicPair:
    pics = PicPair()
    for pic, base, wired in ((pics.master, 0x20, 4), (pics.slave, 0x28, 2)):
        pic.write(0, 1, 0x11)
        for value in (base, wired, 0x01, mask):
            pic.write(1, 1, value)
    return pics


def test_a_request_becomes_its_vector_and_waits_for_the_end_of_the_one_before() -> None:
    pics = pair()
    pics.line(4).set(True)
    assert pics.pending
    assert pics.acknowledge() == 0x24
    pics.line(5).set(True)
    assert not pics.pending
    pics.line(1).set(True)
    assert pics.acknowledge() == 0x21
    for _ in range(2):
        pics.master.write(0, 1, 0x20)
    assert pics.acknowledge() == 0x25


def test_the_slave_comes_through_input_2_and_both_are_ended() -> None:
    pics = pair()
    pics.line(12).set(True)
    assert pics.acknowledge() == 0x2C
    pics.line(8).set(True)
    pics.slave.write(0, 1, 0x20)
    pics.master.write(0, 1, 0x20)
    assert pics.acknowledge() == 0x28


def test_masks_hold_back_and_show() -> None:
    pics = pair(0xFF)
    pics.line(0).set(True)
    assert not pics.pending
    assert not pics.enabled(0)
    pics.master.write(1, 1, 0xFE)
    assert pics.pending
    assert pics.enabled(0)
    assert pics.master.read(1, 1) == 0xFE


def test_edges_are_remembered_levels_are_not() -> None:
    pics = pair()
    line = pics.line(3)
    line.set(True)
    assert pics.acknowledge() == 0x23
    pics.master.write(0, 1, 0x20)
    assert not pics.pending  # still high, but that was the edge
    line.pulse()
    assert pics.pending


def test_level_triggered_lines_ask_again_while_high() -> None:
    pics = pair()
    EdgeLevel(pics).write(1, 1, 1 << 2)  # IRQ 10
    pics.line(10).set(True)
    for _ in range(2):
        assert pics.acknowledge() == 0x2A
        pics.slave.write(0, 1, 0x20)
        pics.master.write(0, 1, 0x20)
    pics.line(10).set(False)
    assert not pics.pending


def test_nobody_asking_is_spurious() -> None:
    pics = pair()
    line = pics.line(3)
    line.set(True)
    line.set(False)
    assert not pics.pending
    assert pics.acknowledge() == 0x27


def test_request_and_service_registers_can_be_read() -> None:
    pics = pair()
    pics.line(3).set(True)
    assert pics.master.read(0, 1) == 1 << 3
    pics.acknowledge()
    pics.master.write(0, 1, 0x0B)
    assert pics.master.read(0, 1) == 1 << 3
    pics.master.write(0, 1, 0x60 | 3)  # specific end of interrupt
    assert pics.master.read(0, 1) == 0


def test_automatic_end_of_interrupt() -> None:
    pics = pair()
    pics.master.write(0, 1, 0x11)
    for value in (0x20, 4, 0x03, 0):
        pics.master.write(1, 1, value)
    line = pics.line(3)
    line.set(True)
    assert pics.acknowledge() == 0x23
    line.pulse()
    assert pics.acknowledge() == 0x23


# The timer


class Time:
    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns

    def ticks(self, count: int) -> None:
        self.ns += -(-count * 1_000_000_000 // HZ)


def count_of(pit: Pit8254, number: int) -> int:
    pit.write(3, 1, number << 6)
    return pit.read(number, 1) | pit.read(number, 1) << 8


def load(pit: Pit8254, number: int, mode: int, value: int) -> None:
    pit.write(3, 1, number << 6 | 0x30 | mode << 1)
    pit.write(number, 1, value & 0xFF)
    pit.write(number, 1, value >> 8)


def test_mode_0_counts_down_through_zero_and_raises_its_output() -> None:
    time = Time()
    pit = Pit8254(time)
    load(pit, 2, 0, 1000)
    time.ticks(400)
    assert count_of(pit, 2) == 600
    assert not pit.counters[2].output
    time.ticks(600)
    assert pit.counters[2].output
    time.ticks(1)
    assert count_of(pit, 2) == 0xFFFF


def test_mode_2_interrupts_once_a_period() -> None:
    time, line, edges = Time(), Line(), 0
    pit = Pit8254(time, line)
    load(pit, 0, 2, 100)
    for _ in range(350):
        time.ticks(1)
        before = line.level
        line.set(False)
        pit.advance(time.ns)
        edges += line.level
        line.set(before)
    assert edges == 3
    assert count_of(pit, 0) in (50, 51)


def test_the_next_event_is_when_the_period_ends() -> None:
    time, line = Time(), Line()
    pit = Pit8254(time, line)
    assert pit.next_event_ns() is None
    load(pit, 0, 3, 1193)
    event = pit.next_event_ns()
    assert event is not None
    assert 999_000 < event < 1_001_000
    time.ns = event
    pit.advance(time.ns)
    assert line.level
    later = pit.next_event_ns()
    assert later is not None
    assert later > event


def test_one_shot_interrupts_once() -> None:
    time, line = Time(), Line()
    pit = Pit8254(time, line)
    load(pit, 0, 0, 500)
    time.ticks(501)
    pit.advance(time.ns)
    assert line.level
    assert pit.next_event_ns() is None


def test_latched_counts_hold_and_read_back_gives_status() -> None:
    time = Time()
    pit = Pit8254(time)
    load(pit, 0, 2, 0x1234)
    pit.write(3, 1, 0x00)
    time.ticks(100)
    assert pit.read(0, 1) | pit.read(0, 1) << 8 == 0x1234
    pit.write(3, 1, 0xE2)  # status of counter 0
    assert pit.read(0, 1) & 0x3F == 0x34


def test_the_gate_of_timer_2_starts_it() -> None:
    time = Time()
    pit = Pit8254(time)
    control = SystemControlB(pit.counters[2])
    load(pit, 2, 3, 1000)
    time.ticks(123)
    control.write(0, 1, 1)
    time.ticks(499)
    assert control.read(0, 1) & 0x20
    time.ticks(2)
    assert not control.read(0, 1) & 0x20
    first, second = control.read(0, 1), control.read(0, 1)
    assert (first ^ second) & 0x10  # refresh toggles


# Reset lines


@pytest.mark.parametrize(
    ("device", "value", "quiet"),
    [(SystemControlA, 0x01, 0x02), (PciPorts, 0x06, 0x02)],
)
def test_reset_lines(device: type, value: int, quiet: int) -> None:
    said: list[str] = []
    made = device(said.append)
    offset = getattr(made, "RESET", 0)
    made.write(offset, 1, quiet)
    assert said == []
    made.write(offset, 1, value)
    assert len(said) == 1


def test_pci_without_devices() -> None:
    ports = PciPorts(lambda _: None)
    ports.write(0, 4, 0x80000000)
    assert (ports.read(0, 4), ports.read(4, 4), ports.read(4, 2)) == (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFF)
