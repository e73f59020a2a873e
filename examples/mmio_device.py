"""A device in Python behind a guest-physical address: two factors are written to it, and their product is read."""

from __future__ import annotations

from pyhv import Halted, MmioLoad, MmioStore, VirtualMachine

DEVICE = 0xD000_0000
FACTOR_A, FACTOR_B, PRODUCT = 0, 4, 8

# mov edi,DEVICE / mov dword [edi],1234567 / mov dword [edi+4],89 / mov eax,[edi+8] / hlt
PROGRAM = bytes.fromhex("bf000000d0 c70787d61200 c7470459000000 8b4708 f4")


class Multiplier:
    """Three registers of 32 bits; it knows offsets, not addresses."""

    def __init__(self) -> None:
        self.factors = {FACTOR_A: 0, FACTOR_B: 0}

    def load(self, offset: int) -> int:
        if offset == PRODUCT:
            return self.factors[FACTOR_A] * self.factors[FACTOR_B] & 0xFFFF_FFFF
        return self.factors.get(offset, 0xFFFF_FFFF)

    def store(self, offset: int, value: int) -> None:
        if offset in self.factors:
            self.factors[offset] = value


def main() -> int:
    """Returns what the guest read."""
    device = Multiplier()
    with VirtualMachine() as vm:
        ram = vm.map(at=0, size=0x10000)
        ram[0x1000 : 0x1000 + len(PROGRAM)] = PROGRAM
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            cpu.regs.rip = 0x1000
            while True:
                match cpu.run():
                    case MmioStore(gpa, _, value):
                        print(f"store {value} at {gpa:#x}")
                        device.store(gpa - DEVICE, value)
                    case MmioLoad(gpa, _):
                        print(f"load at {gpa:#x}")
                        cpu.answer(device.load(gpa - DEVICE))
                    case Halted():
                        return cpu.regs.eax
                    case other:
                        raise SystemExit(f"unexpected: {other}")


if __name__ == "__main__":
    print(f"the guest read {main():,}")
