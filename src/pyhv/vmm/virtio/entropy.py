"""A source of random bytes. Virtual I/O Device 1.2, "Entropy Device"."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..dma import Dma
from .device import VirtioDevice
from .queue import Chain

AT_ONCE_BYTES = 64 << 10  # a bigger buffer is filled in part, as the device may


class Entropy(VirtioDevice):
    """One queue of buffers to fill."""

    KIND = 4
    NAME = "entropy"

    def __init__(self, dma: Dma, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        super().__init__(dma)
        self._random_bytes = random_bytes

    def handle(self, number: int, chain: Chain) -> int:
        return self.scatter(chain.writable, self._random_bytes(min(chain.writable_bytes, AT_ONCE_BYTES)))
