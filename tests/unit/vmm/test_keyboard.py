"""The keyboard controller, and the keys behind what a terminal sends."""

from __future__ import annotations

import pytest

from pyhv.vmm.console import BytesSource
from pyhv.vmm.devices.keyboard import KeyboardController
from pyhv.vmm.devices.keys import scan_codes
from pyhv.vmm.devices.line import Line

FULL = 0x01


class Machine:
    """A controller with everything around it."""

    def __init__(self, typed: bytes = b"") -> None:
        self.resets: list[str] = []
        self.edges = 0
        self.irq = Line(self._heard)
        self.controller = KeyboardController(BytesSource(typed), self.irq, self.resets.append)

    def _heard(self, level: bool) -> None:
        self.edges += level

    def command(self, value: int) -> None:
        self.controller.command.write(0, 1, value)

    def send(self, value: int) -> None:
        self.controller.data.write(0, 1, value)

    def status(self) -> int:
        return self.controller.command.read(0, 1)

    def read(self) -> int:
        return self.controller.data.read(0, 1)

    def drain(self) -> bytes:
        codes = bytearray()
        while self.status() & FULL:
            codes.append(self.read())
        return bytes(codes)


@pytest.mark.parametrize(
    ("typed", "codes"),
    [
        (b"a", "1e 9e"),
        (b"A", "2a 1e 9e aa"),
        (b"\x03", "1d 2e ae 9d"),  # Ctrl-C, where it is typed at all
        (b"\r", "1c 9c"),
        (b"\x1b", "01 81"),
        (b"\x1b[A", "e0 48 e0 c8"),
        (b"\x1bOP", "3b bb"),
        (b"\x1b[15~", "3f bf"),
        (b"\x1b[3~x", "e0 53 e0 d3 2d ad"),
        (b"\x1bx", "01 81 2d ad"),
        (b"\xc3\xa9", ""),  # no key has it
        (b" ?~", "39 b9 2a 35 b5 aa 2a 29 a9 aa"),
    ],
)
def test_keys(typed: bytes, codes: str) -> None:
    assert scan_codes(typed) == bytes.fromhex(codes)


def test_every_printable_character_is_a_key() -> None:
    assert all(scan_codes([code]) for code in range(0x20, 0x7F))
    assert len({scan_codes([code]) for code in range(0x20, 0x7F)}) == 95


def test_typed_keys_come_one_byte_at_a_time_each_with_an_interrupt() -> None:
    machine = Machine(b"ab")
    machine.controller.poll()
    assert (machine.status() & FULL, machine.edges) == (FULL, 1)
    assert machine.drain() == bytes.fromhex("1e9e30b0")
    assert machine.edges == 4
    assert machine.status() & FULL == 0


def test_asking_without_interrupts_finds_keys_too() -> None:
    machine = Machine(b"a")
    machine.command(0x60)
    machine.send(0x44)  # no interrupts
    assert machine.drain() == bytes.fromhex("1e9e")
    assert machine.edges == 0


def test_a_keyboard_that_is_off_keeps_its_keys() -> None:
    machine = Machine(b"a")
    machine.command(0xAD)
    assert machine.drain() == b""
    machine.command(0xAE)
    assert machine.drain() == bytes.fromhex("1e9e")


@pytest.mark.parametrize(
    ("command", "answer"),
    [(0xAA, "55"), (0xAB, "00"), (0xA9, "01"), (0xD0, "03"), (0xC0, "80"), (0x20, "45"), (0xA7, "")],
)
def test_controller_commands(command: int, answer: str) -> None:
    machine = Machine()
    machine.command(command)
    assert machine.status() & 0x08  # the last write was a command
    assert machine.drain() == bytes.fromhex(answer)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [("ff", "fa aa"), ("f2", "fa ab 41"), ("ed 07", "fa fa"), ("f0 00", "fa fa 41"), ("f0 02", "fa fa"), ("ee", "ee"),
     ("f4", "fa"), ("99", "fe")],
)  # fmt: skip
def test_keyboard_commands(sent: str, answer: str) -> None:
    machine = Machine()
    codes = b""
    for value in bytes.fromhex(sent):
        machine.send(value)
        codes += machine.drain()
    assert codes == bytes.fromhex(answer)


def test_the_command_byte_reads_back() -> None:
    machine = Machine()
    machine.command(0x60)
    machine.send(0x54)
    machine.command(0x20)
    assert machine.read() == 0x54


def test_bytes_for_a_mouse_go_nowhere() -> None:
    machine = Machine()
    machine.command(0xD4)
    machine.send(0xFF)
    assert machine.drain() == b""


def test_the_reset_line() -> None:
    machine = Machine()
    machine.command(0xD1)
    machine.send(0xDF)
    machine.command(0xFF)
    assert not machine.resets
    machine.command(0xFE)
    assert "0x64" in machine.resets[0]
    machine.command(0xD1)
    machine.send(0xFE)
    assert len(machine.resets) == 2


def test_it_can_interrupt_while_keys_may_come() -> None:
    assert Machine(b"x").controller.can_interrupt
    assert not Machine().controller.can_interrupt
    machine = Machine(b"x")
    machine.command(0xAD)
    assert not machine.controller.can_interrupt
