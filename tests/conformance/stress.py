"""Memory is mapped, unmapped and protected, vCPUs are kicked and VMs closed, while three threads run guests.

python tests/conformance/stress.py SEED SECONDS
"""

from __future__ import annotations

import random
import sys
import threading
import time

from pyhv import BudgetSpent, Closed, HvError, Kicked, MmioFetch, MmioLoad, MmioStore, VCpu, VirtualMachine

CODE, DATA, HOLE, PAGE = 0x1000, 0x5000, 0x2_0000, 0x1000
THREADS = 3


def run_until_closed(vm: VirtualMachine, vcpus: list[VCpu], ended: list[object], choice: random.Random) -> None:
    """A guest thread: answers what comes until the VM is gone."""
    try:
        with vm.vcpu() as cpu:
            cpu.regs.rip = CODE
            vcpus.append(cpu)
            while True:
                match cpu.run(budget=choice.choice([None, 1000, 7])):
                    case Kicked() | BudgetSpent() | MmioStore():
                        pass
                    case MmioLoad():
                        cpu.answer(3)
                    case MmioFetch():
                        time.sleep(0.0001)
                    case other:
                        ended.append(other)
                        return
    except Closed:
        ended.append(None)


def disturb(vm: VirtualMachine, vcpus: list[VCpu], choice: random.Random) -> None:
    """One change to a VM that runs."""
    what = choice.randrange(4)
    try:
        if what == 0 and vcpus:
            choice.choice(vcpus).kick()
        elif what == 1:
            vm.unmap(at=choice.choice([CODE, DATA]), size=PAGE)
        elif what == 2:
            vm.protect(at=choice.choice([CODE, DATA]), size=PAGE, perm=choice.randrange(8))
        else:
            vm.map(at=choice.choice([DATA, HOLE]), size=PAGE)
    except HvError:
        pass


def one_round(choice: random.Random) -> None:
    vm = VirtualMachine("soft")
    vm.map(at=0, size=0x1_0000)[CODE : CODE + 6] = bytes.fromhex("fe060050ebfa")  # inc byte [0x5000]; jmp
    vcpus: list[VCpu] = []
    ended: list[object] = []
    workers = [
        threading.Thread(target=run_until_closed, args=(vm, vcpus, ended, random.Random(choice.random())))
        for _ in range(THREADS)
    ]
    for worker in workers:
        worker.start()
    for _ in range(choice.randrange(30)):
        disturb(vm, vcpus, choice)
    vm.close()
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive(), "a thread did not come back from a closed VM"
    assert ended == [None] * THREADS, ended


def main(seed: int, seconds: float) -> int:
    choice, rounds, end = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        one_round(choice)
        rounds += 1
    print(f"seed {seed}: {rounds} rounds")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
