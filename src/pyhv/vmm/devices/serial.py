"""A 16550A UART with a line that is always ready and never loses a byte. National Semiconductor PC16550D data sheet.

Baud rate and framing are kept and read back, not timed: a byte written is sent at once.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum, IntFlag

from ..console import ByteSink, ByteSource
from .line import Line


class Register(IntEnum):
    """Offsets. DATA and INTERRUPT_ENABLE are the divisor latch while LCR.DLAB is set."""

    DATA = 0
    INTERRUPT_ENABLE = 1
    INTERRUPT_ID = 2  # written: FIFO control
    LINE_CONTROL = 3
    MODEM_CONTROL = 4
    LINE_STATUS = 5
    MODEM_STATUS = 6
    SCRATCH = 7


class Enable(IntFlag):
    RECEIVED = 1
    TRANSMITTER_EMPTY = 2


class LineStatus(IntFlag):
    DATA_READY = 0x01
    BREAK = 0x10
    HOLDING_EMPTY = 0x20
    TRANSMITTER_EMPTY = 0x40


SENDER_READY = int(LineStatus.HOLDING_EMPTY | LineStatus.TRANSMITTER_EMPTY)
READY_WITH_DATA = int(SENDER_READY | LineStatus.DATA_READY)
RECEIVED, TRANSMITTER_EMPTY = int(Enable.RECEIVED), int(Enable.TRANSMITTER_EMPTY)
DATA, LINE_STATUS = int(Register.DATA), int(Register.LINE_STATUS)  # a kernel's console asks and writes a byte at a time
ONE_BYTE = tuple(bytes((value,)) for value in range(256))
DLAB = 0x80
FIFO_ENABLE = 0x01
FIFO_CLEAR_RECEIVED = 0x02
IIR_NONE, IIR_TRANSMITTER_EMPTY, IIR_RECEIVED, IIR_FIFOS_ON = 0x01, 0x02, 0x04, 0xC0
POLLS_OF_A_READER = 64  # line-status reads with nothing sent in between
MCR_LOOPBACK, MCR_OUT2 = 0x10, 0x08
MSR_READY = 0xB0  # carrier, data set ready, clear to send


class Uart16550:
    """Bytes written go to `sink`, bytes from `source` are received; `irq` follows the enabled interrupts."""

    width_bytes = 1

    def __init__(
        self, sink: ByteSink, source: ByteSource, irq: Line | None = None, *, holds_back: bool = False
    ) -> None:
        """`holds_back`: nothing is received before the guest wants it, which is when it has switched the receive
        interrupt on or asks over and over. Drivers throw away what came before they were ready.
        """
        self._polls_wanted = POLLS_OF_A_READER if holds_back else 0
        self._polls = 0
        self._sink = sink
        self._source = source
        self._irq = irq or Line()
        self._divisor = 1
        self._enable = 0
        self._line_control = 0
        self._modem_control = 0
        self._scratch = 0
        self._fifos = False
        self._transmitter_event = False
        self._looped: deque[int] = deque(maxlen=16)

    @property
    def can_interrupt(self) -> bool:
        """Whether something typed would reach the interrupt line."""
        return bool(self._enable & Enable.RECEIVED and self._modem_control & MCR_OUT2 and not self._source.ended)

    def poll(self) -> None:
        """Look for typed bytes, for guests that wait for the interrupt instead of asking."""
        if self._enable & Enable.RECEIVED:
            self._update_irq()

    def read(self, offset: int, size_bytes: int) -> int:
        if offset == LINE_STATUS:
            self._polls += 1
            return READY_WITH_DATA if self._has_data() else SENDER_READY
        match offset:
            case Register.DATA:
                return self._divisor & 0xFF if self._line_control & DLAB else self._receive()
            case Register.INTERRUPT_ENABLE:
                return self._divisor >> 8 if self._line_control & DLAB else self._enable
            case Register.INTERRUPT_ID:
                return self._identify()
            case Register.LINE_CONTROL:
                return self._line_control
            case Register.MODEM_CONTROL:
                return self._modem_control
            case Register.MODEM_STATUS:
                return self._modem_status()
            case _:
                return self._scratch

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        dlab = self._line_control & DLAB
        if offset == DATA and not dlab:
            self._polls = 0
            self._send(value)
            self._update_irq()
            return
        match offset:
            case Register.DATA:
                self._divisor = self._divisor & 0xFF00 | value
            case Register.INTERRUPT_ENABLE if dlab:
                self._divisor = self._divisor & 0xFF | value << 8
            case Register.INTERRUPT_ENABLE:
                self._transmitter_event |= bool(value & ~self._enable & Enable.TRANSMITTER_EMPTY)
                self._enable = value & 0x0F
            case Register.INTERRUPT_ID:
                self._fifos = bool(value & FIFO_ENABLE)
                if value & FIFO_CLEAR_RECEIVED:
                    self._looped.clear()
            case Register.LINE_CONTROL:
                self._line_control = value
            case Register.MODEM_CONTROL:
                self._modem_control = value & 0x1F
            case Register.SCRATCH:
                self._scratch = value
        self._update_irq()

    def _has_data(self) -> bool:
        if self._modem_control & MCR_LOOPBACK:
            return bool(self._looped)
        return (self._polls >= self._polls_wanted or bool(self._enable & RECEIVED)) and self._source.ready()

    def _receive(self) -> int:
        if self._modem_control & MCR_LOOPBACK:
            value = self._looped.popleft() if self._looped else 0
        else:
            value = (self._source.read() or 0) if self._has_data() else 0
        self._update_irq()
        return value

    def _send(self, value: int) -> None:
        if self._modem_control & MCR_LOOPBACK:
            self._looped.append(value)
        else:
            self._sink.write(ONE_BYTE[value])
        self._transmitter_event = True

    def _pending(self) -> int:
        """The highest-priority interrupt, as its identification bits."""
        if self._enable & RECEIVED and self._has_data():
            return IIR_RECEIVED
        if self._enable & TRANSMITTER_EMPTY and self._transmitter_event:
            return IIR_TRANSMITTER_EMPTY
        return IIR_NONE

    def _identify(self) -> int:
        """Reading the identification acknowledges "transmitter empty" when that is what it names."""
        pending = self._pending()
        if pending == IIR_TRANSMITTER_EMPTY:
            self._transmitter_event = False
            self._update_irq()
        return pending | (IIR_FIFOS_ON if self._fifos else 0)

    def _modem_status(self) -> int:
        if not self._modem_control & MCR_LOOPBACK:
            return MSR_READY
        dtr, rts, outs = self._modem_control & 1, self._modem_control >> 1 & 1, self._modem_control >> 2 & 3
        return rts << 4 | dtr << 5 | outs << 6

    def _update_irq(self) -> None:
        """The PC board gates the line with OUT2."""
        self._irq.set(bool(self._modem_control & MCR_OUT2) and self._pending() != IIR_NONE)
