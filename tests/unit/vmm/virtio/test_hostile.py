"""A driver that lies: the device says so in the log and stops until it is reset; nothing else happens."""

from __future__ import annotations

import logging
import random
import struct

import pytest

from pyhv.vmm.virtio.block import Block
from pyhv.vmm.virtio.device import AT_ONCE, Status
from pyhv.vmm.virtio.entropy import Entropy
from pyhv.vmm.virtio.pci import BAR_BYTES, COMMON, NOTIFY
from pyhv.vmm.virtio.queue import INDIRECT, NEXT, WRITE

from .driver import RAM_BYTES, SIZE, Driver, Memory
from .test_block import disk_of

BUFFER = 0x20000


@pytest.fixture
def driver(memory: Memory) -> Driver:
    found = Driver(memory, Entropy(memory.dma, lambda size: b"\x5a" * size))
    found.enable_msix()
    found.start()
    return found


def failed(driver: Driver, caplog: pytest.LogCaptureFixture, words: str) -> None:
    """The device has stopped, said why, and works again after a reset."""
    assert driver.status & Status.NEEDS_RESET
    assert len(caplog.records) == 1
    assert words in caplog.text
    before = driver.used(0)
    driver.offer(0, 0)
    assert driver.used(0) == before
    driver.start()
    assert driver.status == 15
    memory = driver.memory
    memory.ram[driver.queues[0].available : driver.queues[0].used + 4] = bytes(
        driver.queues[0].used + 4 - driver.queues[0].available
    )
    assert driver.request(0, [], [4]) == [b"\x5a" * 4]


@pytest.mark.parametrize(
    ("descriptors", "words"),
    [
        ([(RAM_BYTES, 16, WRITE, 0)], "no RAM"),
        ([(RAM_BYTES - 8, 16, WRITE, 0)], "no RAM"),
        ([((1 << 64) - 8, 16, WRITE, 0)], "no RAM"),
        ([(BUFFER, 0xFFFF_FFFF, WRITE, 0)], "no RAM"),
        ([(BUFFER, 16, WRITE | NEXT, 0)], "circle"),
        ([(BUFFER, 16, WRITE | NEXT, 1), (BUFFER, 16, WRITE | NEXT, 0)], "circle"),
        ([(BUFFER, 16, WRITE | NEXT, SIZE)], "descriptor 16 in a table of 16"),
        ([(BUFFER, 16, WRITE | NEXT, 0xFFFF)], "descriptor 65535"),
        ([(BUFFER, 16, WRITE | NEXT, 1), (BUFFER, 16, 0, 0)], "read behind"),
        ([(BUFFER, 0, INDIRECT, 0)], "indirect table of 0 bytes"),
        ([(BUFFER, 17, INDIRECT, 0)], "indirect table of 17 bytes"),
        ([(BUFFER, 16, INDIRECT | NEXT, 1), (BUFFER, 16, WRITE, 0)], "with a next one"),
        ([(RAM_BYTES, 16, INDIRECT, 0)], "descriptor where no RAM is"),
    ],
)
def test_lies_in_descriptors(
    driver: Driver, caplog: pytest.LogCaptureFixture, descriptors: list[tuple[int, int, int, int]], words: str
) -> None:
    for index, each in enumerate(descriptors):
        driver.descriptor(0, index, *each)
    driver.offer(0, 0)
    failed(driver, caplog, words)


def test_an_indirect_table_inside_another(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    driver.memory.ram[BUFFER : BUFFER + 16] = struct.pack("<QIHH", BUFFER, 16, INDIRECT, 0)
    driver.descriptor(0, 0, BUFFER, 16, INDIRECT)
    driver.offer(0, 0)
    failed(driver, caplog, "inside a table")


def test_a_long_indirect_table(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    chain = b"".join(struct.pack("<QIHH", BUFFER, 1, WRITE | NEXT, n + 1) for n in range(40))
    driver.memory.ram[BUFFER : BUFFER + len(chain)] = chain
    driver.descriptor(0, 0, BUFFER, len(chain), INDIRECT)
    driver.offer(0, 0)
    failed(driver, caplog, "longer than the queue")


def test_a_head_outside_the_table(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    driver.offer(0, 999)
    failed(driver, caplog, "descriptor 999")


def test_an_index_that_runs_away(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    driver.set_available_index(0, 0x8000)
    driver.notify(0)
    failed(driver, caplog, "ahead")


def test_a_failure_is_told_by_a_message(driver: Driver) -> None:
    driver.write(COMMON, 16, 2, 1)
    driver.offer(0, 999)
    assert driver.messages[-1] == (0xFEE0_0000, 0x41)


@pytest.mark.parametrize(
    ("at", "size", "words"),
    [
        (RAM_BYTES, 16, "no RAM"),
        (RAM_BYTES - 64, 16, "no RAM"),
        ((1 << 64) - 16, 16, "no RAM"),
        (0x1008, 16, "multiple of 16"),
        (0x1000, 0, "size of 0"),
        (0x1000, 3, "size of 3"),
        (0x1000, 0x8000, "size of 32768"),
    ],
)
def test_queues_that_cannot_be(
    memory: Memory, caplog: pytest.LogCaptureFixture, at: int, size: int, words: str
) -> None:
    driver = Driver(memory, Entropy(memory.dma))
    driver.start(queues=0)
    driver.set_up(0, at, size)
    driver.notify(0)
    assert words in caplog.text
    assert driver.status & Status.NEEDS_RESET


def test_notifications_for_queues_that_are_not_there(driver: Driver) -> None:
    for queue in (1, 2, 500, 1023):
        driver.notify(queue)
    driver.write(COMMON, 22, 2, 77)
    assert driver.read(COMMON, 24, 2) == 0
    driver.write(COMMON, 28, 2, 1)
    assert driver.status == 15


def test_a_queue_that_never_empties_lets_others_go_first(memory: Memory) -> None:
    """Another processor may fill the ring while it is emptied; the lock on the devices must come free all the same."""
    done: list[int] = []

    def refill(size: int) -> bytes:
        done.append(size)
        driver.offer(0, 0, notify=False)
        return b"x"

    driver = Driver(memory, Entropy(memory.dma, refill))
    driver.start()
    left: list[int] = []
    driver.device.on_left = lambda: left.append(1)
    driver.descriptor(0, 0, BUFFER, 1, WRITE)
    driver.offer(0, 0)
    assert (len(done), left) == (AT_ONCE, [1])
    driver.device.resume()
    assert (len(done), left) == (2 * AT_ONCE, [1, 1])


def test_any_bytes_anywhere(memory: Memory, tmp_path: object, caplog: pytest.LogCaptureFixture) -> None:
    """Random accesses to all registers and random rings: the monitor lives, and other memory is as it was."""
    caplog.set_level(logging.CRITICAL)
    disk = disk_of(tmp_path, bytes(1 << 16))
    random_ = random.Random(5)
    with disk:
        for _ in range(60):
            driver = Driver(memory, Block(memory.dma, disk))
            driver.start()
            memory.ram[0x1000:0x3000] = random_.randbytes(0x2000)
            for _ in range(40):
                _one_random_thing(driver, random_)
    assert memory.dma.read(0, 1) is not None


def _one_random_thing(driver: Driver, random_: random.Random) -> None:
    size, value = random_.choice((1, 2, 4, 8)), random_.getrandbits(64)
    match random_.randrange(5):
        case 0:
            at = random_.randrange(BAR_BYTES - 8)
            driver.bus.window.write(driver.bar - 0xC000_0000 + at, size, value & ((1 << 8 * size) - 1))
        case 1:
            driver.bus.window.read(driver.bar - 0xC000_0000 + random_.randrange(BAR_BYTES - 8), size)
        case 2:
            at = random_.randrange(0x40, 256, 4)
            driver.write_config(at, 4, value & 0xFFFF_FFFF)
            driver.read_config(at, 4)
        case 3:
            driver.set_available_index(0, random_.randrange(64))
            driver.write(NOTIFY, 0, 2, 0)
        case _:
            flags = random_.choice((0, WRITE, NEXT, WRITE | NEXT, INDIRECT))
            gpa, length = random_.choice((BUFFER, RAM_BYTES - 1, value)), random_.choice((0, 1, 16, 512, 1 << 31))
            driver.descriptor(0, random_.randrange(SIZE), gpa, length, flags, random_.randrange(SIZE + 1))
            driver.offer(0, random_.randrange(SIZE))
