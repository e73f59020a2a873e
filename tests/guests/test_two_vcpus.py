"""Two processors of one machine on two threads: what is locked loses nothing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from pyhv import Exit, Halted, VCpu, VirtualMachine
from pyhv.vmm.paging import PageTables

ROUNDS = 30_000
CODE, TABLES = 0x1000, 0x20000
SECONDS = 60


def test_locked_instructions_and_locks_lose_no_count(build: Callable[[str], Path]) -> None:
    tables = PageTables(TABLES)
    tables.map(0, 0, 2 << 20)
    ended: list[Exit] = []

    def run(cpu: VCpu) -> None:
        ended.append(cpu.run(deadline_ns=cpu.vm.clock.now_ns + SECONDS * 10**9))

    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=2 << 20)
        vm.write(CODE, build("lock.S").read_bytes())
        vm.write(TABLES, tables.data)
        cpus = [vm.vcpu(), vm.vcpu()]
        for cpu in cpus:
            cpu.enter_long(TABLES)
            cpu.regs.rip, cpu.regs.rdi = CODE, ROUNDS
        threads = [Thread(target=run, args=(cpu,)) for cpu in cpus]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ended == [Halted(), Halted()]
        total = 2 * ROUNDS
        words = struct.unpack_from("<10Q", bytes(ram[0x8000:0x8050]))
        assert words[:5] == (0, total, total, total, total)
        assert words[6:8] == (total, -total & (1 << 64) - 1)
        assert words[8:10] == (0, total)
        assert int.from_bytes(bytes(ram[0x8FFF:0x9003]), "little") == total
