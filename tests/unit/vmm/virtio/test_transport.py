"""The PCI function: capabilities, features, status, interrupts, by a driver that does as Linux does."""

from __future__ import annotations

import struct

from pyhv.vmm.virtio.device import EVENT_IDX, Status
from pyhv.vmm.virtio.entropy import Entropy
from pyhv.vmm.virtio.pci import COMMON, NO_VECTOR, TABLE

from .driver import ALL, WINDOW_AT, Driver, Memory

GO = Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK | Status.DRIVER_OK


def entropy(memory: Memory) -> Driver:
    return Driver(memory, Entropy(memory.dma, lambda size: b"\x5a" * size))


def test_identity_and_capabilities_are_found_by_their_list(memory: Memory) -> None:
    driver = entropy(memory)
    assert (driver.read_config(0, 4), driver.read_config(8, 1)) == (0x1044_1AF4, 1)
    assert driver.read_config(6, 2) & 0x10
    kinds, at = [], driver.read_config(0x34, 1)
    while at:
        kinds.append(
            (driver.read_config(at, 1), driver.read_config(at + 3, 1) if driver.read_config(at, 1) == 9 else 0)
        )
        at = driver.read_config(at + 1, 1)
    assert kinds == [(9, 1), (9, 3), (9, 4), (9, 2), (9, 5), (0x11, 0)]


def test_a_bar_tells_its_size_and_moves(memory: Memory) -> None:
    driver = entropy(memory)
    driver.write_config(0x10, 4, 0xFFFF_FFFF)
    assert driver.read_config(0x10, 4) == 0xFFFF_8000
    driver.write_config(0x10, 4, WINDOW_AT + 0x80_0000)
    assert driver.read(COMMON, 18, 2) == 0xFFFF  # nobody is where it was
    driver.bar = WINDOW_AT + 0x80_0000
    assert driver.read(COMMON, 18, 2) == 1
    driver.write_config(4, 2, 0)
    assert driver.read(COMMON, 18, 2) == 0xFFFF  # memory decoding is off


def test_a_bar_outside_the_window_answers_nobody(memory: Memory) -> None:
    driver = entropy(memory)
    for at in (0, 0xFFFF_8000, 0xFEE0_0000):
        driver.write_config(0x10, 4, at)
        assert not driver.bus.window.pages


def test_a_request_comes_back_with_an_interrupt_by_line(memory: Memory) -> None:
    driver = entropy(memory)
    driver.start()
    assert driver.status == GO
    assert driver.request(0, [], [8, 4]) == [b"\x5a" * 8, b"\x5a" * 4]
    assert driver.used(0) == [(0, 12)]
    assert driver.function.line.level
    assert (driver.isr(), driver.isr(), driver.function.line.level) == (1, 0, False)


def test_messages_go_by_vector_and_wait_while_masked(memory: Memory) -> None:
    driver = entropy(memory)
    driver.enable_msix()
    driver.start(ALL & ~EVENT_IDX)
    driver.request(0, [], [8])
    assert driver.messages == [(0xFEE0_0000, 0x40)]
    driver.write(TABLE, 12, 4, 1)
    driver.request(0, [], [8])
    assert len(driver.messages) == 1
    driver.write(TABLE, 12, 4, 0)
    assert len(driver.messages) == 2
    assert not driver.function.line.level


def test_a_message_to_memory_is_not_sent(memory: Memory) -> None:
    driver = entropy(memory)
    driver.enable_msix()
    driver.write(TABLE, 0, 4, 0x1000)
    driver.start()
    driver.request(0, [], [8])
    assert driver.messages == []


def test_a_vector_that_the_table_has_not_reads_back_as_none(memory: Memory) -> None:
    driver = entropy(memory)
    driver.write(COMMON, 16, 2, 9)
    assert driver.read(COMMON, 16, 2) == NO_VECTOR


def test_without_version_1_features_are_not_ok(memory: Memory) -> None:
    driver = entropy(memory)
    driver.start(features=ALL & ~(1 << 32))
    assert not driver.status & Status.FEATURES_OK


def test_reset_forgets_everything(memory: Memory) -> None:
    driver = entropy(memory)
    driver.start()
    driver.request(0, [], [8])
    driver.write(COMMON, 20, 1, 0)
    assert (driver.status, driver.read(COMMON, 28, 2), driver.isr()) == (0, 0, 0)
    driver.notify(0)
    driver.start()
    assert driver.request(0, [], [3]) == [b"\x5a" * 3]


def test_used_buffer_notifications_follow_the_event_index(memory: Memory) -> None:
    driver = entropy(memory)
    driver.enable_msix()
    driver.start()
    places = driver.queues[0]
    event_at = places.available + 4 + 2 * places.size
    memory.ram[event_at : event_at + 2] = struct.pack("<H", 2)  # tell me after the third
    for _ in range(5):
        driver.request(0, [], [1])
    assert len(driver.messages) == 2  # the first ever, and the third


def test_without_bus_mastering_nothing_is_read(memory: Memory) -> None:
    driver = entropy(memory)
    driver.start()
    driver.write_config(4, 2, 2)
    driver.request(0, [], [8])
    assert driver.used(0) == []


def test_the_access_capability_reaches_registers(memory: Memory) -> None:
    driver = entropy(memory)
    at = driver.function._access
    driver.write_config(at + 4, 1, 0)
    driver.write_config(at + 8, 4, 18)
    driver.write_config(at + 12, 4, 2)
    assert driver.read_config(at + 16, 2) == 1
    driver.write_config(at + 8, 4, 0xFFFF_FFF0)
    assert driver.read_config(at + 16, 2) == 0xFFFF
