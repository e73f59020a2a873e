"""An access that KVM has reported and not finished: what it waits for, and where its value goes in kvm_run."""

from __future__ import annotations

from operator import index
from struct import Struct
from struct import error as StructError
from typing import Final

from ...errors import BadArgument
from ...exits import Exit, MmioLoad, MsrRead, MsrWrite, PortIn, PortOut
from . import abi

_OFFSET_AT: Final = abi.UNION_AT + 8
_offset = Struct("<Q").unpack_from
_PUT: Final = {size: Struct(f"<{code}").pack_into for size, code in zip((1, 2, 4, 8), "BHIQ", strict=True)}


class Pending:
    """The access of one exit. `waits` until it has its whole value; posted ones never do."""

    __slots__ = ("_at", "_given", "_run", "exit", "msr_reason", "posted", "waits")

    def __init__(self, found: Exit, run: memoryview) -> None:
        self.exit, self._run = found, run
        self.waits, self.posted = True, False  # posted: it was done when it was reported
        self._given = 0
        kind = type(found)
        if kind is MmioLoad:
            self._at = abi.MMIO_DATA_AT
        elif kind is PortIn:
            self._at = _offset(run, _OFFSET_AT)[0]
        elif kind is MsrRead or kind is MsrWrite:
            self._at = abi.MSR_DATA_AT
            run[abi.UNION_AT] = 0
        else:
            self.waits, self.posted = False, True

    def again(self, found: MmioLoad | PortIn) -> Pending:
        """The same for the next exit of its kind."""
        self.exit, self.waits = found, True
        if type(found) is PortIn:
            self._given, self._at = 0, _offset(self._run, _OFFSET_AT)[0]
        return self

    def answer(self, value: int | bytes | None) -> Exit | None:
        """Take a value. An exit comes back where it was only a part of what a REP INS asks for."""
        found = self.exit
        if type(value) is int and (type(found) is MmioLoad or (type(found) is PortIn and found.count == 1)):
            try:
                _PUT[found.size_bytes](self._run, self._at, value)
            except (KeyError, StructError):
                pass  # below, by the rules
            else:
                self.waits = False
                return None
        if isinstance(found, MsrWrite) != (value is None):
            write = isinstance(found, MsrWrite)
            raise BadArgument(
                "an MsrWrite is accepted by answer() without a value"
                if write
                else "answer() needs the value that was read"
            )
        if isinstance(found, PortIn):
            return self._port(found, value if isinstance(value, bytes) else self._number(value, found.size_bytes))
        if isinstance(value, bytes):
            raise BadArgument("only a PortIn is answered with bytes")
        if value is not None:
            data = self._number(value, found.size_bytes if isinstance(found, MmioLoad) else 8)
            self._run[self._at : self._at + len(data)] = data
        self.waits = False
        return None

    def refuse(self) -> None:
        """#GP(0) for an MSR access."""
        if not isinstance(self.exit, MsrRead | MsrWrite):
            raise BadArgument("only MsrRead and MsrWrite can be refused")
        self._run[abi.UNION_AT] = 1
        self.waits = False

    def blank(self) -> None:
        """Take zeros: the instruction is about to be forgotten."""
        if self.waits and not isinstance(self.exit, MsrWrite):
            size = {MmioLoad: 8, MsrRead: 8}.get(type(self.exit), 0)
            self._run[self._at : self._at + size] = bytes(size)
        self.waits = False

    def _port(self, found: PortIn, data: bytes) -> Exit | None:
        left = found.count * found.size_bytes - self._given
        if not data or len(data) % found.size_bytes or len(data) > left:
            raise BadArgument(
                f"an answer of {len(data)} bytes: whole items of {found.size_bytes} bytes would do, at most {left}"
            )
        at = self._at + self._given
        self._run[at : at + len(data)] = data
        self._given += len(data)
        if len(data) == left:
            self.waits = False
            return None
        return PortIn(found.port, found.size_bytes, (left - len(data)) // found.size_bytes)

    @staticmethod
    def _number(value: object, size: int) -> bytes:
        number = index(value)  # type: ignore[arg-type]
        try:
            return number.to_bytes(size, "little")
        except OverflowError:
            raise BadArgument(f"answer {number} does not fit in {size} unsigned bytes") from None


POSTED: Final = Pending(PortOut(0, 1, 0), memoryview(b""))
"""Any write to ports: nothing of it has to be remembered."""
