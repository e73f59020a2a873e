"""The virtio console: both directions."""

from __future__ import annotations

import os

from pyhv.vmm.console import Capture, PumpedSource
from pyhv.vmm.virtio.console import RECEIVE, TRANSMIT, Console
from pyhv.vmm.virtio.queue import WRITE

from .driver import Driver, Memory

BUFFER = 0x30000


def test_what_the_guest_sends_is_printed(memory: Memory) -> None:
    sink = Capture()
    driver = Driver(memory, Console(memory.dma, sink, PumpedSource(None)))
    driver.start()
    driver.request(TRANSMIT, [b"hello ", b"world"], [])
    assert (sink.data, driver.used(TRANSMIT)) == (b"hello world", [(0, 0)])


def test_what_is_typed_waits_for_buffers_and_buffers_for_it(memory: Memory) -> None:
    reading, writing = os.pipe()
    try:
        source = PumpedSource(reading)
        console = Console(memory.dma, Capture(), source)
        driver = Driver(memory, console)
        driver.start()
        driver.descriptor(RECEIVE, 0, BUFFER, 4, WRITE)
        driver.offer(RECEIVE, 0)
        assert driver.used(RECEIVE) == []
        os.write(writing, b"abcdef")
        source.pump()
        console.poll()
        assert driver.used(RECEIVE) == [(0, 4)]
        driver.offer(RECEIVE, 0)
        assert driver.used(RECEIVE) == [(0, 4), (0, 2)]
        assert memory.ram[BUFFER : BUFFER + 4] == b"efcd"
    finally:
        os.close(reading)
        os.close(writing)
