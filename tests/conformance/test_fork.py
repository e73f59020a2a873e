"""fork() while a vCPU runs in another thread: the child lives, makes its own VM and ends in the ordinary way."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys, threading, time
from pyhv import Closed, Halted, Kicked, VirtualMachine

vm = VirtualMachine("soft")
ram = vm.map(at=0, size=0x2000)
ram[0:2] = b"\\xeb\\xfe"
cpu, log = vm.vcpu(), ram.dirty_log()
results = []
worker = threading.Thread(target=lambda: results.append(cpu.run()))
worker.start()
while not cpu.running:
    time.sleep(0.001)
child = os.fork()
if child == 0:
    try:
        cpu.run()
    except Closed as closed:
        assert "fork" in str(closed)
    try:
        log.take()
    except Closed:
        log.close()
    else:
        sys.exit(1)
    with VirtualMachine("soft") as mine:
        mine.map(at=0, size=0x1000)[0] = 0xF4
        assert mine.vcpu().run() == Halted()
    sys.exit(7)  # with all the interpreter's own tidying up
_, status = os.waitpid(child, 0)
cpu.kick()
worker.join()
assert results == [Kicked()], results
vm.close()
print(os.waitstatus_to_exitcode(status))
"""


def test_fork_beside_a_running_vcpu() -> None:
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
