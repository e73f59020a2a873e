"""One x87 instruction on the bare processor: its state before and behind as FXSAVE images."""

from __future__ import annotations

import ctypes
import mmap
import platform

import pytest

OPERAND_BYTES = 128
# fxrstor64 [rdi]; push rdx; popfq; INSTRUCTION on [rsi]; pushfq; pop rax; fxsave64 [rdi]; fninit; ret
BEFORE = bytes.fromhex("480fae0f 52 9d")
BEHIND = bytes.fromhex("9c 58 480fae07 dbe3 c3")


class BareX87:
    """Runs instructions with an operand at [RSI] on the processor that runs the tests."""

    def __init__(self) -> None:
        if platform.machine().lower() not in ("x86_64", "amd64"):
            pytest.skip(f"x87 instructions need an x86-64 host; this is {platform.machine()}")
        self._code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._space = mmap.mmap(-1, mmap.PAGESIZE)
        entry = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._image = ctypes.addressof(ctypes.c_char.from_buffer(self._space))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)(entry)

    def run(self, instruction: bytes, image: bytes, operand: bytes, flags: int) -> tuple[bytes, bytes, int]:
        """FXSAVE image, operand and RFLAGS behind it. An exception that it leaves pending is dropped."""
        self._code[: len(BEFORE) + len(instruction) + len(BEHIND)] = BEFORE + instruction + BEHIND
        self._space[:512] = image
        self._space[512 : 512 + OPERAND_BYTES] = operand
        after = self._call(self._image, self._image + 512, flags)
        return self._space[:512], self._space[512 : 512 + OPERAND_BYTES], after
