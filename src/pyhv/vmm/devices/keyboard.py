"""The keyboard controller of a PC (8042) with a keyboard that speaks scan code set 1, and no mouse.

IBM PC/AT Technical Reference, "Keyboard Controller" and "Keyboard". The controller's translation is taken as on: the
codes are those that a PC's programs see, whatever set they ask the keyboard for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum

from ..console import ByteSource
from .keys import scan_codes
from .line import Line

OUTPUT_FULL, SYSTEM_FLAG, WAS_COMMAND, UNLOCKED = 0x01, 0x04, 0x08, 0x10
INTERRUPT, KEYBOARD_OFF, TRANSLATE = 0x01, 0x10, 0x40  # in the command byte
ACKNOWLEDGE, SELF_TEST_PASSED, RESEND, ECHO = 0xFA, 0xAA, 0xFE, 0xEE
NOT_RESET, A20 = 0x01, 0x02  # in the output port
TYPED_AHEAD = 256


class Command(IntEnum):
    """To the controller, by port 0x64."""

    READ_COMMAND_BYTE = 0x20
    WRITE_COMMAND_BYTE = 0x60
    TEST_MOUSE_PORT = 0xA9
    SELF_TEST = 0xAA
    TEST_KEYBOARD_PORT = 0xAB
    KEYBOARD_OFF = 0xAD
    KEYBOARD_ON = 0xAE
    READ_INPUT_PORT = 0xC0
    READ_OUTPUT_PORT = 0xD0
    WRITE_OUTPUT_PORT = 0xD1
    WRITE_MOUSE = 0xD4
    PULSE = 0xF0  # to 0xFF: the low bits that are 0 pulse their lines, bit 0 is RESET


_ANSWERS = {  # to the controller's commands
    Command.SELF_TEST: 0x55,
    Command.TEST_KEYBOARD_PORT: 0x00,
    Command.TEST_MOUSE_PORT: 0x01,  # the clock line is stuck low: there is no mouse
    Command.READ_INPUT_PORT: 0x80,  # not locked
    Command.READ_OUTPUT_PORT: NOT_RESET | A20,
}
_TAKE_A_BYTE = (Command.WRITE_COMMAND_BYTE, Command.WRITE_OUTPUT_PORT, Command.WRITE_MOUSE)
_KEYBOARD_ANSWERS = {  # to the keyboard's commands
    0xFF: (ACKNOWLEDGE, SELF_TEST_PASSED),
    0xF2: (ACKNOWLEDGE, 0xAB, 0x41),  # an MF2 keyboard behind translation
    0xEE: (ECHO,),
}
_KEYBOARD_TAKES_A_BYTE = (0xED, 0xF0, 0xF3)  # lamps, scan code set, repeat rate
_KEYBOARD_KNOWS = (*_KEYBOARD_TAKES_A_BYTE, 0xF4, 0xF5, 0xF6)


class KeyboardController:
    """`data` is port 0x60, `command` port 0x64."""

    def __init__(self, source: ByteSource, irq: Line, on_reset: Callable[[str], None]) -> None:
        """What `source` gives is typed. `on_reset` is called when the guest pulls the processor's reset line."""
        self._source, self._irq, self._on_reset = source, irq, on_reset
        self._command_byte = INTERRUPT | SYSTEM_FLAG | TRANSLATE
        self._output: deque[int] = deque()
        self._typed: deque[int] = deque()
        self._expects: int | None = None  # the controller's command that waits for its byte
        self._keyboard_expects: int | None = None
        self._last_was_command = False
        self.data, self.command = _Data(self), _Command(self)

    @property
    def can_interrupt(self) -> bool:
        """Whether a key would reach the interrupt line."""
        return bool(self._command_byte & INTERRUPT and not self._command_byte & KEYBOARD_OFF and not self._source.ended)

    def poll(self) -> None:
        """Take what was typed, as much as fits, and offer it to the guest."""
        pressed = []
        while len(self._typed) < TYPED_AHEAD and self._source.ready():
            byte = self._source.read()
            if byte is None:
                break
            pressed.append(byte)
        self._typed.extend(scan_codes(pressed))
        self._update()

    def read_data(self) -> int:
        if not self._output:
            self._update()
        value = self._output.popleft() if self._output else 0
        self._irq.set(False)
        self._update()
        return value

    def read_status(self) -> int:
        if not self._output:
            self.poll()
        full = OUTPUT_FULL if self._output else 0
        return full | (self._command_byte & SYSTEM_FLAG) | WAS_COMMAND * self._last_was_command | UNLOCKED

    def write_data(self, value: int) -> None:
        self._last_was_command = False
        command, self._expects = self._expects, None
        match command:
            case Command.WRITE_COMMAND_BYTE:
                self._command_byte = value
            case Command.WRITE_OUTPUT_PORT:
                self._reset_unless(value & NOT_RESET)
            case None:
                self._command_byte &= ~KEYBOARD_OFF
                self._tell_keyboard(value)
        self._update()

    def write_command(self, value: int) -> None:
        self._last_was_command = True
        self._expects = value if value in _TAKE_A_BYTE else None
        if value == Command.READ_COMMAND_BYTE:
            self._output.append(self._command_byte)
        elif value == Command.KEYBOARD_OFF:
            self._command_byte |= KEYBOARD_OFF
        elif value == Command.KEYBOARD_ON:
            self._command_byte &= ~KEYBOARD_OFF
        elif value in _ANSWERS:
            self._output.append(_ANSWERS[Command(value)])
        elif value >= Command.PULSE:
            self._reset_unless(value & NOT_RESET)
        self._update()

    def _tell_keyboard(self, value: int) -> None:
        if self._keyboard_expects is not None:
            asked_for_set = self._keyboard_expects == 0xF0 and value == 0
            self._keyboard_expects = None
            self._output.extend((ACKNOWLEDGE, 0x41) if asked_for_set else (ACKNOWLEDGE,))  # 41h: set 2, translated
            return
        self._keyboard_expects = value if value in _KEYBOARD_TAKES_A_BYTE else None
        fallback = (ACKNOWLEDGE,) if value in _KEYBOARD_KNOWS else (RESEND,)
        self._output.extend(_KEYBOARD_ANSWERS.get(value, fallback))

    def _reset_unless(self, level: int) -> None:
        if not level:
            self._on_reset("keyboard controller, port 0x64")

    def _update(self) -> None:
        """The next key into the output buffer, and the interrupt that says so."""
        if not self._output and self._typed and not self._command_byte & KEYBOARD_OFF:
            self._output.append(self._typed.popleft())
        self._irq.set(bool(self._output and self._command_byte & INTERRUPT))


class _Data:
    """Port 0x60."""

    width_bytes = 1

    def __init__(self, controller: KeyboardController) -> None:
        self._controller = controller

    def read(self, offset: int, size_bytes: int) -> int:
        return self._controller.read_data()

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self._controller.write_data(value)


class _Command:
    """Port 0x64."""

    width_bytes = 1

    def __init__(self, controller: KeyboardController) -> None:
        self._controller = controller

    def read(self, offset: int, size_bytes: int) -> int:
        return self._controller.read_status()

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self._controller.write_command(value)
