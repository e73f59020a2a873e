"""Whole guests: they check themselves, print what failed, and end with 0 by the exit port."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pyhv import Unsupported
from pyhv.engines.select import ENGINES
from pyhv.vmm import session
from pyhv.vmm.console import ByteSource, BytesSource, Capture, NoInput
from pyhv.vmm.limits import Limits
from pyhv.vmm.loaders import load
from pyhv.vmm.outcome import GuestDied, GuestExited, HaltedForever, LimitReached, Outcome, TimedOut
from pyhv.vmm.plan import Mode
from pyhv.vmm.session import Result, Settings

SECONDS = 60.0
_engine = "soft"


@pytest.fixture(autouse=True, params=["soft", "kvm"])
def engine(request: pytest.FixtureRequest) -> str:
    """What `run` runs on."""
    global _engine  # noqa: PLW0603 - of this one test
    _engine = str(request.param)
    status = ENGINES[_engine].status()
    if not status.works:
        pytest.skip(f"the {_engine} engine: {status.reason}")
    if _engine != "soft" and request.node.get_closest_marker("counts_instructions"):
        pytest.skip(f"the {_engine} engine does not count instructions, nor keep the last ones")
    return _engine


def run(
    image: bytes, source: ByteSource | None = None, *, mode: Mode | None = None, **limits: object
) -> tuple[Result, str]:
    capture = Capture()
    settings = Settings(_engine, 16 << 20, Limits(**{"seconds": SECONDS, **limits}))  # type: ignore[arg-type]
    result = session.run(load(image, mode=mode), settings, capture, source or NoInput())
    return result, capture.data.decode("latin-1")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("paging.c", "paging is right"),
        ("interrupts.c", "interrupts are right"),
        ("selfmod.c", "changing code is right"),
        ("strings.c", "strings are right"),
    ],
)
def test_a_64_bit_guest_finds_everything_right(
    build: Callable[[str], Path], engine: str, source: str, said: str
) -> None:
    if source == "strings.c" and not ENGINES[engine].status().fast:
        pytest.skip("a KVM that emulates takes half a minute")
    result, output = run(build(source).read_bytes())
    assert (result.outcome, output.strip()) == (GuestExited(0, "port 0xf4"), said), "\n".join(result.history)


def test_a_real_mode_guest_finds_everything_right(build: Callable[[str], Path]) -> None:
    result, output = run(build("real.S").read_bytes())
    assert result.outcome == GuestExited(0, "port 0xf4"), (output, result.history)


def test_typed_bytes_come_by_interrupt(build: Callable[[str], Path]) -> None:
    result, output = run(build("echo.c").read_bytes(), BytesSource(b"hello, guest."))
    assert (result.outcome, output) == (GuestExited(0, "port 0xf4"), "HELLO, GUEST.")


def flat(code: str, **options: object) -> tuple[Outcome, Result]:
    result, _ = run(bytes.fromhex(code), **options)  # type: ignore[arg-type]
    return result.outcome, result


def test_hlt_without_interrupts_says_so() -> None:
    outcome, result = flat("fa f4")
    assert isinstance(outcome, HaltedForever)
    assert "RFLAGS.IF = 0" in outcome.why
    assert result.registers


def test_hlt_with_interrupts_but_no_device_says_so() -> None:
    outcome, _ = flat("fb f4")
    assert isinstance(outcome, HaltedForever)
    assert "no device could interrupt" in outcome.why


def test_hlt_with_a_masked_timer_says_so() -> None:
    outcome, _ = flat("b034 e643 b000 e640 e640 b0ff e621 fb f4")
    assert isinstance(outcome, HaltedForever)
    assert "masked" in outcome.why


def test_a_triple_fault_names_the_first_fault_and_the_missing_idt() -> None:
    outcome, result = flat("90 0f0b", mode=Mode.LONG)
    assert isinstance(outcome, GuestDied)
    assert "#UD" in outcome.why
    assert "there is no IDT" in outcome.why
    assert "ud2" in result.history[-1]
    assert result.engine != "soft" or "nop" in result.history[-2]
    assert any("rip 0000000000001001" in line for line in result.registers)


def test_a_page_fault_is_told_with_address_and_access() -> None:
    # mov rax, 0x123456789000 ; mov [rax], al
    outcome, _ = flat("48b8 0090785634120000 8800", mode=Mode.LONG)
    assert isinstance(outcome, GuestDied)
    assert "#PF" in outcome.why
    assert "0x123456789000: a write to a page that is not mapped" in outcome.why


def test_a_system_call_is_told_to_be_one() -> None:
    outcome, _ = flat("0f05", mode=Mode.LONG)
    assert isinstance(outcome, GuestDied)
    assert "program for an operating system" in outcome.why


def test_a_jump_into_nothing() -> None:
    outcome, _ = flat("b8 000000d0 ffe0", mode=Mode.PROTECTED)  # mov eax, 0xD0000000 ; jmp eax
    assert isinstance(outcome, GuestDied)
    assert "jump into nothing" in outcome.why
    assert "0xd0000000" in outcome.why


def test_the_timeout_ends_a_spinning_guest() -> None:
    outcome, result = flat("ebfe", seconds=0.3)
    assert outcome == TimedOut(0.3)
    assert 0.25 < result.seconds < 5


@pytest.mark.counts_instructions
def test_the_limit_of_instructions_is_exact() -> None:
    outcome, result = flat("40 ebfd", instructions=1001)
    assert outcome == LimitReached(1001)
    assert result.instructions == 1001


def test_the_exit_port_gives_the_value() -> None:
    outcome, _ = flat("b82a00 e7f4")  # out 0xf4, ax
    assert outcome == GuestExited(42, "port 0xf4")


def test_a_boot_program_calls_the_bios() -> None:
    # mov ax,0E41h / int 10h / mov ah,0 / int 16h / mov ah,0Eh / int 10h / mov al,7 / out F4h,al
    result, output = run(bytes.fromhex("b8410e cd10 b400 cd16 b40e cd10 b007 e6f4"), BytesSource(b"z"))
    assert (result.outcome, output) == (GuestExited(7, "port 0xf4"), "Az")


def test_without_a_count_there_is_no_limit_of_instructions(engine: str) -> None:
    if engine == "soft":
        return
    with pytest.raises(Unsupported, match="--engine soft"):
        flat("ebfe", instructions=5)


@pytest.mark.counts_instructions
def test_a_trace_has_one_line_an_instruction_and_one_an_interrupt(build: Callable[[str], Path]) -> None:
    lines: list[str] = []
    settings = Settings("soft", 16 << 20, Limits(SECONDS), on_trace=lines.append)
    result = session.run(load(build("echo.c").read_bytes()), settings, Capture(), BytesSource(b"x."))
    assert result.outcome == GuestExited(0, "port 0xf4")
    assert len(lines) == result.instructions + 1
    interrupt = lines.index("(interrupt 0x24)")
    assert "hlt" in lines[interrupt - 1] or "sti" in lines[interrupt - 2]
    assert "push" in lines[interrupt + 1]
    assert "in al, dx" in " ".join(lines)
