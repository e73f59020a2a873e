"""The reason in words, from what a dead processor shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import pyhv
from pyhv.vmm.autopsy import explain_shutdown, first_fault

GATE = bytes((0, 0, 8, 0, 0, 0x8E, 0, 0))
GDT, CODE = 0x100, 0x00AF_9B00_0000_FFFF


class Dead:
    """A processor in 64-bit mode; `step` raises the fault again, as the real one does."""

    def __init__(self, fault: pyhv.Exit, text: str = "ud2", **facts: Any) -> None:
        self.fault, self.text = fault, text
        self.state: object = "as it died"
        self.set_back: list[object] = []
        self.controls = SimpleNamespace(exception_bitmap=0x10)
        self.regs = SimpleNamespace(rip=0x5000, rsp=0x9000, rflags=2, cr0=pyhv.Cr0(0x8000_0011), cr4=pyhv.Cr4(0x20))
        self.cpuid: tuple[object, ...] = ()
        self.injected = False
        table = SimpleNamespace(base=facts.get("idt", 0), limit=facts.get("limit", 0))
        self.segments = SimpleNamespace(
            cs=SimpleNamespace(base=0, selector=8, access_rights=SimpleNamespace(l=True, db=False)),
            ss=SimpleNamespace(base=0),
            idtr=table,
            gdtr=SimpleNamespace(base=GDT, limit=facts.get("gdt_limit", 23)),
        )
        self.msrs = {"EFER": 0x500}
        self.mapped = facts.get("stack", True)
        self.gate = facts.get("gate", GATE)

    def step(self) -> pyhv.Exit:
        assert self.controls.exception_bitmap == 0xFFFF_FFFF
        self.state = "changed"
        return pyhv.MonitorTrap() if self.injected else self.fault

    def inject(self, vector: int) -> None:
        self.injected = True

    def write_vmcs(self, field: int, value: int) -> None:
        pass

    def recent(self) -> list[tuple[int, int, int]]:
        return []

    def translate(self, gva: int, *, write: bool = False) -> int | None:
        return gva if self.mapped else None

    def read_virtual(self, gva: int, size: int) -> bytes:
        if self.gate is None:
            raise pyhv.Fault("not there")
        return bytes(self.gate) if gva >= 0x1000 else CODE.to_bytes(8, "little")

    def disassemble(self, at: int, count: int) -> list[object]:
        return [SimpleNamespace(text=self.text)] if self.text else []


def why(fault: pyhv.Exit, text: str = "ud2", **facts: Any) -> str:
    return explain_shutdown(Dead(fault, text, **facts))  # type: ignore[arg-type]


UD = pyhv.Exception(6, None, None)
PF = pyhv.Exception(14, 2, pyhv.GVA(0xDEAD000))


def test_the_fault_is_found_and_the_processor_put_back() -> None:
    dead = Dead(PF)
    found = first_fault(dead)  # type: ignore[arg-type]
    assert found is not None
    assert (found.vector, found.error_code, found.address) == (14, 2, 0xDEAD000)
    assert (dead.state, dead.controls.exception_bitmap) == ("as it died", 0x10)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "there is no IDT"),
        ({"idt": 0x1000, "limit": 0x5F}, "the IDT ends before entry 6 (limit 0x5f)"),
        ({"idt": 0x1000, "limit": 0xFFF, "gate": None}, "the IDT entry at 0x1060 is not mapped"),
        ({"idt": 0x1000, "limit": 0xFFF, "gate": bytes(8)}, "IDT entry 6 is empty (zeros)"),
        ({"idt": 0x1000, "limit": 0xFFF, "gate": bytes(4) + b"\1\x0e\0\0"}, "IDT entry 6 is not present"),
        ({"idt": 0x1000, "limit": 0xFFF, "gate": bytes(4) + b"\0\x9a\0\0"}, "IDT entry 6 is no gate (type 0x1a"),
        ({"idt": 0x1000, "limit": 0xFFF, "gdt_limit": 7}, "its code segment 0x8 is not in the GDT"),
        ({"idt": 0x1000, "limit": 0xFFF, "stack": False}, "the stack at 0x8ff8 is not mapped"),
        ({"idt": 0x1000, "limit": 0xFFF}, "delivering it failed again"),
    ],
)
def test_why_no_handler_ran(facts: dict[str, Any], said: str) -> None:
    text = why(UD, **facts)
    assert said in text
    assert "0x5000 (ud2) raised #UD" in text


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "a read of a page that is not mapped"),
        (3, "a write to a page that does not allow it"),
        (6, "a write by user code to a page that is not mapped"),
        (17, "a fetch from a page that does not allow it"),
    ],
)
def test_page_faults_tell_the_access(code: int, said: str) -> None:
    assert f"at 0xdead000: {said}" in why(pyhv.Exception(14, code, pyhv.GVA(0xDEAD000)), "mov [rax], al")


def test_error_codes_are_shown() -> None:
    assert "#GP (general protection), error code 0x1230" in why(pyhv.Exception(13, 0x1230, None), "mov ds, ax")


def test_a_system_call_says_what_sort_of_program_this_is() -> None:
    assert "program for an operating system" in why(UD, "syscall")
    assert "operating system" not in why(UD, "ud2")


@pytest.mark.parametrize("text", ["pxor xmm0, xmm0", "fninit", "movq mm0, rax"])
def test_simd_and_x87_say_how_to_build_without(text: str) -> None:
    assert "-mgeneral-regs-only" in why(UD, text)


def test_an_event_that_could_not_be_delivered() -> None:
    assert "no event could be delivered at 0x5000 (nop)" in why(pyhv.MonitorTrap(), "nop")


def test_avx_says_how_to_build_without() -> None:
    assert "-mno-avx" in why(UD, "vaddps ymm1, ymm2, ymm3")
