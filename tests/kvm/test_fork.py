"""A thread that has run vCPUs forks: in the child it has another number, and what comes for its vCPUs reaches it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal, threading, time
from pyhv import PortOut, VirtualMachine

NMI_TO_0 = (0xFEE0_0000, 0x400)
CODE = bytes.fromhex("ebfe")  # jmp $
HANDLER = bytes.fromhex("e610 cf")  # out 0x10, al; iret

def run_to_the_message():
    with VirtualMachine("kvm", apic=True) as vm:
        ram = vm.map(at=0, size=0x10000)
        ram[0x1000:0x1002], ram[0x2000:0x2003] = CODE, HANDLER
        ram[8:12] = bytes.fromhex("00200000")  # vector 2
        cpu = vm.vcpu()
        cpu.regs.rip, cpu.regs.rsp = 0x1000, 0x8000

        def send():
            while not cpu.running:
                time.sleep(0.001)
            time.sleep(0.2)
            vm.interrupts.send_msi(*NMI_TO_0)

        sender = threading.Thread(target=send)
        sender.start()
        found = cpu.run()
        sender.join()
        assert isinstance(found, PortOut), found

def fork():
    run_to_the_message()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        run_to_the_message()
        from pyhv.engines.kvm.timer import HERE
        os._exit(7 if HERE.thread.is_main else 8)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

forking = threading.Thread(target=fork)
forking.start()
forking.join()
"""


def test_messages_reach_a_vcpu_of_a_thread_that_has_forked(kvm: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
