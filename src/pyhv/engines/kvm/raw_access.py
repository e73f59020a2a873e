"""How the twin comes to stand before the instruction that KVM reported, and how KVM loses the access it still holds."""

from __future__ import annotations

from fcntl import ioctl
from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...arch.x86_64.registers import Reg
from ...arch.x86_64.vmcs import Vmcs, segment_fields
from ...errors import HvError
from ...exits import Exit, Halted, MmioLoad, MmioStore, PortIn, PortOut, PortOutMany
from . import abi
from .abi import Ioctl
from .behind import (
    EVERY_LENGTH,
    LONGEST,
    OUTS,
    RCX,
    RDI,
    RF,
    RFLAGS,
    RIP,
    Before,
    Mode,
    candidates,
    decode,
    halts,
    likeliest,
    loads_registers,
    of_repeats,
    plain_out_at,
    plain_outs,
)
from .exits import exit_of
from .pending import POSTED, Pending
from .raw_fields import RawFields
from .state import GENERAL_ORDER, set_general
from .witness import Witness

if TYPE_CHECKING:
    from .vm import KvmVm, Seat

_RUN: Final = int(Ioctl.RUN)
_KICKED, _IO, _STEPPED = 1, 30, 37
_STRING: Final = 1 << 4  # of the qualification of an I/O instruction
_PAGE: Final = 4096
_SWEEP_BYTES: Final = 48
_MOST_SITES: Final = 1024
_MOST_PIECES: Final = 4096
_TF, _DF = 1 << 8, 1 << 10
_U64: Final = (1 << 64) - 1
_INDEX_MASKS: Final = {0: 0xFFFF, 1: 0xFFFF_FFFF, 2: _U64}
_ES_BASE: Final = segment_fields("es")[1]


class RawAccess(RawFields):
    """Accesses of a vCPU with raw exits."""

    def __init__(self, vm: KvmVm, seat: Seat, twin: _silicon.Cpu) -> None:
        super().__init__(vm, seat, twin)
        self._known: tuple[int, ...] | None = None  # KVM's general registers
        self._entry: int | None = None  # RIP when KVM was entered, if that was looked at
        self._lazy: PortIn | None = None  # waits in KVM, and may be answered by what the client does
        self._sites: dict[tuple[int, int, bytes], tuple[int, ...]] = {}  # where instructions were found
        self._witness: Witness | None = None

    def pull(self) -> None:
        """The twin's general registers are the guest's."""
        if self._stale:
            self._known = self._synced.general()
            set_general(self.twin, self._known)
            self._stale = False

    # The instruction is at RIP, and has not happened.

    def _at_it(self, found: PortIn | MmioLoad) -> int:
        """A port read or a load: KVM waits for its value."""
        self.pull_code()
        flags = self._known_now()[RFLAGS]
        if flags & RF:  # it came as a fault, or REP has done some
            self.twin.write_register(Reg.RFLAGS, flags & ~RF)
        reason = self._step_twin()
        if reason == _STEPPED:  # somebody has mapped memory there meanwhile
            self._executed(found)
            return 0
        if isinstance(found, PortIn) and reason == _IO:
            if not self.twin.read_vmcs(Vmcs.EXIT_QUALIFICATION) & _STRING:
                self._lazy = found
            else:
                self._undo(found)
        elif isinstance(found, PortIn) or not self._loads_registers():
            self._undo(found)
        self._dirty = True
        self._reason = reason
        return reason

    def _execute(self) -> int:
        """The twin, which is the guest, executes the instruction at RIP. 0: it is done."""
        reason = self._step_twin()
        self._dirty = True
        if reason == _STEPPED:
            self.drop()
            self._dirty_system = True
            self._look_at_mode()
            return 0
        self._reason = reason
        return reason

    def _step_twin(self) -> int:
        """One instruction in Apple's manner: the exit reason, of a single step where it made none."""
        reason = _KICKED
        while reason == _KICKED:  # an old kick
            self.twin.step()
            reason = self.twin.read_vmcs(Vmcs.EXIT_REASON)
        return reason

    def _executed(self, found: PortIn | MmioLoad | None) -> None:
        """The twin has done the instruction: what KVM holds of it goes, and the rest of the state stays KVM's."""
        if self._stale_system:
            self._system.pull_rest()
            self._stale_system = False
        if found is not None:
            self._undo(found)
        else:
            self.drop()
        self._dirty = self._dirty_system = True
        self._look_at_mode()

    def _loads_registers(self) -> bool:
        """Whether KVM may finish the load at any time: it can change nothing but general registers and flags."""
        return loads_registers(decode(self._code(0, LONGEST), self._mode.bits)[1])

    # It has happened: RIP is behind it.

    def _out(self, found: PortOut | PortOutMany) -> int:
        self.pull_code()
        after = self._known_now()
        if isinstance(found, PortOut):
            code, ahead = self._code_around()
            lengths = plain_outs(code, found, after, self._mode.bits)
            strings = code[-1:] != b"" and code[-1] in OUTS
            here = plain_out_at(ahead, self._mode.bits)
            if (
                here
                and plain_outs(ahead[:here], found, after, self._mode.bits)
                and not ((lengths or strings) and self._has_moved())
            ):
                return self._stand(Before(0, after), after)
            if len(lengths) == 1 and not strings and not after[RFLAGS] & RF:
                return self._stand(_back(after, lengths[0]), after)
        value = found.data if isinstance(found, PortOut) else 0
        return self._search(found, (found.size_bytes, value))

    def _has_moved(self) -> bool:
        """Both are possible: let KVM finish, and see whether that moves RIP. False: it had not moved yet."""
        before = self._known_now()[RIP]
        self.drop()
        moved = self._synced.general()[RIP] == before
        self._known = None
        return moved

    def _store(self, found: MmioStore) -> int:
        self.pull_code()
        return self._search(found, (found.size_bytes, found.value))

    def _behind_hlt(self) -> int:
        self.pull_code()
        after = self._known_now()
        lengths = halts(self._code(-LONGEST, LONGEST), self._mode.bits)
        if not lengths:
            raise _unexplained(Halted())
        return self._stand(_back(after, lengths[0]), after)

    def _search(self, found: Exit, written: tuple[int, int]) -> int:
        """Find the instruction that explains it, and stand before it."""
        after = self._known_now()
        code = self._code(-LONGEST - _SWEEP_BYTES, LONGEST + _SWEEP_BYTES)
        witness = self._see()
        site = (after[RIP], after[RFLAGS] & RF | self._mode.bits, code)
        lengths = self._sites.get(site, EVERY_LENGTH)
        parts = (code, self._code(0, LONGEST))
        possible = list(candidates(parts, after, self._mode, written, lengths))
        right = [one for one in possible if witness.explains(one, found, after)]
        if not right:  # it may have stored what is not in general registers
            witness.see_rest()
            right = [one for one in possible if witness.explains(one, found, after)]
        if not right and isinstance(found, MmioStore):  # or somebody has unmapped it meanwhile
            right = [one for one in possible if witness.tears(one, found)]
        if not right:
            if self._sites.pop(site, None):
                return self._search(found, written)
            raise _unexplained(found)
        right = of_repeats(right, after)
        chosen = likeliest(right, code, self._mode.bits, self._boundary(after, len(code)))
        self._remember(site, 0 if chosen.general[RIP] == after[RIP] else chosen.length)
        if witness.pieces > 1:
            self.drop()  # or they would come as exits of their own
        return self._stand(chosen, after)

    def _remember(self, site: tuple[int, int, bytes], length: int) -> None:
        """The same code at the same place has the same instruction."""
        if len(self._sites) >= _MOST_SITES:
            self._sites.clear()
        self._sites[site] = (length,)

    def _boundary(self, after: tuple[int, ...], size: int) -> int | None:
        """Where in the code up to RIP an instruction begins for certain: KVM was entered there."""
        back = size if self._entry is None else after[RIP] - self._entry
        return size - back if 0 < back < size else None

    def _see(self) -> Witness:
        """The witness, with what the twin has of segments."""
        witness = self._witness
        if witness is None:
            witness = self._witness = Witness(self.vm, self.seat)
            witness.cpu.set_cpuid(self.twin.get_cpuid())
        witness.see(self._segments)
        return witness

    def _stand(self, before: Before, after: tuple[int, ...]) -> int:
        """The twin, which has the registers behind the instruction, goes before it and makes the exit."""
        for reg, now, then in zip(GENERAL_ORDER, after, before.general, strict=True):
            if now != then:
                self.twin.write_register(reg, then)
        reason = self._step_twin()
        self._dirty = True
        if reason == _STEPPED:  # somebody has mapped memory there meanwhile
            self._executed(None)
            return 0
        self._reason = reason
        return reason

    def _known_now(self) -> tuple[int, ...]:
        if self._known is None:
            self._known = self._synced.general()
        return self._known

    def _code_around(self) -> tuple[bytes, bytes]:
        """The code up to RIP and from there on, as far as one instruction reaches."""
        first = self._mode.linear(self.twin.read_register(Reg.RIP)) - LONGEST
        if first >> 12 != first + 2 * LONGEST - 1 >> 12:
            return self._code(-LONGEST, LONGEST), self._code(0, LONGEST)
        code = self._read_linear(first, 2 * LONGEST) or b""
        return code[:LONGEST], code[LONGEST:]

    def _code(self, offset: int, size: int) -> bytes:
        """Code around RIP; where a page is missing, what lies on the side of RIP."""
        first = self._mode.linear(self.twin.read_register(Reg.RIP)) + offset
        found = b""
        for at, count in _by_page(first, size):
            part = self._read_linear(at, count)
            if part is None and offset >= 0:
                return found
            found = b"" if part is None else found + part
        return found

    def _read_linear(self, at: int, count: int) -> bytes | None:
        gpa = self.twin.translate(at & _U64, False)
        memory = self.vm.memory
        if gpa is None or memory.table.lookup(gpa) is None:
            return None
        return memory.read(gpa, count)

    # What KVM still holds.

    def settle_general(self) -> None:
        """KVM's general registers are the twin's, at the latest when it has finished what it holds."""
        image = self._general.image()
        wanted = abi.REGS.unpack(image)
        self._entry = wanted[RIP]
        lazy, self._lazy = self._lazy, None
        if self._known is not None and not wanted[RFLAGS] & _TF:
            if lazy is not None and self._completes(lazy, wanted):
                return
            if wanted == self._known and (self._pending is None or self._pending.posted):
                return
        self.drop()
        self._synced.set_general(image)
        self._known = wanted

    def _completes(self, lazy: PortIn, wanted: tuple[int, ...]) -> bool:
        """Whether the client has done what the IN does: then KVM may do it."""
        known, size = self._known, lazy.size_bytes
        if known is None or self._pending is None or wanted[1:RIP] != known[1:RIP]:
            return False
        if (wanted[RFLAGS] ^ known[RFLAGS]) & ~RF:
            return False
        mask = (1 << 8 * size) - 1
        kept = 0 if size == 4 else known[0] & ~mask
        length = self.twin.read_vmcs(Vmcs.EXIT_INSTRUCTION_LENGTH)
        if wanted[0] != kept | wanted[0] & mask or wanted[RIP] != known[RIP] + length:
            return False
        self._pending.answer(wanted[0] & mask)
        return True

    def drop(self) -> None:
        """KVM finishes its access with zeros, and the outcome is not kept: its registers are set afterwards."""
        self._drop_with(b"")

    def _drop_with(self, input_data: bytes) -> None:
        pending = self._pending
        if pending is None:
            return
        self._lazy = self._known = None
        self.kvm_run[abi.IMMEDIATE_EXIT_AT] = 1
        try:
            for _ in range(_MOST_PIECES):
                if pending.waits:
                    input_data = _blank(pending, input_data)
                ioctl(self.fd, _RUN, 0)
                pending = _held(exit_of(self.kvm_run), self.kvm_run)
        except InterruptedError:
            return
        finally:
            self._pending = None
            self.kvm_run[abi.IMMEDIATE_EXIT_AT] = 0
        raise HvError(f"KVM has not finished an access in {_MOST_PIECES} pieces")

    def _undo(self, found: PortIn | MmioLoad) -> None:
        """KVM finishes what may change anything; memory gets back what stood there, and the state is set again."""
        known = self._known_now()
        self.pull_all()
        pieces = self._input_pieces(found, known) if isinstance(found, PortIn) else self._see().stores(known)
        before = [(gpa, self._stands(gpa, size)) for gpa, size in pieces]
        self._dirty = self._dirty_system = True  # whatever becomes of KVM's
        self._end_repeats(known, found.count if isinstance(found, PortIn) else 1)
        self._drop_with(b"".join(data for _, data in before) if isinstance(found, PortIn) else b"")
        for gpa, data in before:
            if self._stands(gpa, len(data)) != data:
                self.vm.memory.write(gpa, data)

    def _input_pieces(self, found: PortIn, known: tuple[int, ...]) -> list[tuple[int, int]]:
        """Where INS writes, in its order: GPA and bytes."""
        size, count = found.size_bytes, found.count
        down = bool(known[RFLAGS] & _DF)
        base = self.twin.read_vmcs(_ES_BASE)
        start = Mode(self._mode.bits, 0, base).linear(known[RDI] & self._index_mask())
        items = [(start - n * size, size) for n in range(count)] if down else [(start, size * count)]
        pieces = []
        for first, length in items:
            for at, part in _by_page(first, length):
                gpa = self.twin.translate(at & _U64, True)
                pieces.append((-1 if gpa is None else gpa, part))
        return pieces

    def _index_mask(self) -> int:
        """Of RDI in a string instruction, by the address size that the exit's instruction information tells."""
        return _INDEX_MASKS[self.twin.read_vmcs(Vmcs.EXIT_INSTRUCTION_INFO) >> 7 & 7]

    def _stands(self, gpa: int, size: int) -> bytes:
        memory = self.vm.memory
        there = gpa >= 0 and memory.mapped_bytes(gpa, size) >= size
        return memory.read(gpa, size) if there else bytes(size)

    def _end_repeats(self, known: tuple[int, ...], left: int) -> None:
        """A REP is over with what KVM holds now."""
        length, text = decode(self._code(0, LONGEST), self._mode.bits)
        if length and text.startswith("rep") and known[RCX] != left:
            values = list(known)
            values[RCX] = left
            ioctl(self.fd, Ioctl.SET_REGS, abi.REGS.pack(*values))  # at once: KVM is within the instruction


def _blank(pending: Pending, data: bytes) -> bytes:
    """Answer it so that nothing comes of it; what is left of the data for the next piece."""
    found = pending.exit
    if not isinstance(found, PortIn):
        pending.blank()
        return data
    size = found.size_bytes * found.count
    pending.answer(data[:size].ljust(size, b"\0"))
    return data[size:]


def _held(found: Exit, run: memoryview) -> Pending:
    return POSTED if isinstance(found, PortOut | PortOutMany | MmioStore) else Pending(found, run)


def _back(after: tuple[int, ...], length: int) -> Before:
    values = list(after)
    values[RIP] = (after[RIP] - length) & _U64
    return Before(length, tuple(values))


def _by_page(first: int, size: int) -> list[tuple[int, int]]:
    parts = []
    while size:
        count = min(size, _PAGE - first % _PAGE)
        parts.append((first, count))
        first, size = first + count, size - count
    return parts


def _unexplained(found: Exit) -> HvError:
    return HvError(
        f"KVM has done {found}, and no instruction before RIP explains it (a far or near CALL whose stack is no memory"
        " does so); PYHV_ENGINE=soft runs such a guest"
    )
