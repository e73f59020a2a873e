"""A guest of 15 bytes says hello by port writes, in real mode."""

from pyhv import Halted, PortOut, VirtualMachine

PROGRAM = bytes.fromhex("baf803 be0f01 ac 84c0 7403 ee ebf8 f4") + b"Hello from a guest!\n\0"
#  mov dx,3F8h / mov si,text / L: lodsb / test al,al / jz E / out dx,al / jmp L / E: hlt

with VirtualMachine() as vm:
    ram = vm.map(at=0, size=1 << 20)
    ram[0x100 : 0x100 + len(PROGRAM)] = PROGRAM
    with vm.vcpu() as cpu:
        cpu.regs.rip = 0x100
        while True:
            match cpu.run():
                case PortOut(port=0x3F8, data=byte):
                    print(chr(byte), end="")
                case Halted():
                    break
                case other:
                    raise SystemExit(f"unexpected: {other}")
