"""pyhv: Apple's Hypervisor framework, open, in Python, on every machine.

    from pyhv import Halted, PortOut, VirtualMachine

    with VirtualMachine() as vm:
        ram = vm.map(at=0, size=1 << 20)
        ram[0x100:0x100 + len(program)] = program
        with vm.vcpu() as cpu:
            cpu.regs.rip = 0x100
            while True:
                match cpu.run():
                    case PortOut(port=0x3F8, data=byte): print(chr(byte), end="")
                    case Halted(): break

Apple's functions by name are in `pyhv.framework.intel`.
"""

from ._core.breakpoints import Breakpoints as Breakpoints
from ._core.breakpoints import Point as Point
from ._core.controls import Controls as Controls
from ._core.controls import ExitInfo as ExitInfo
from ._core.cpuid import CpuidLeaf as CpuidLeaf
from ._core.cpuid import default_cpuid as default_cpuid
from ._core.dirty import DirtyLog as DirtyLog
from ._core.dirty import DirtyPages as DirtyPages
from ._core.interrupts import Interrupts as Interrupts
from ._core.mapping import Mapping as Mapping
from ._core.msrs import Msrs as Msrs
from ._core.perm import Perm as Perm
from ._core.registers import Registers as Registers
from ._core.segments import Segment as Segment
from ._core.segments import SegmentRegister as SegmentRegister
from ._core.segments import Segments as Segments
from ._core.segments import Table as Table
from ._core.spaces import Space as Space
from ._core.state import CpuState as CpuState
from ._core.vcpu import VCpu as VCpu
from ._core.virtual import Instruction as Instruction
from ._core.vm import VirtualMachine as VirtualMachine
from .addresses import GPA as GPA
from .addresses import GVA as GVA
from .addresses import HVA as HVA
from .arch.x86_64.layouts import AccessRights as AccessRights
from .arch.x86_64.layouts import Cr0 as Cr0
from .arch.x86_64.layouts import Cr4 as Cr4
from .arch.x86_64.layouts import Efer as Efer
from .arch.x86_64.layouts import InterruptionInfo as InterruptionInfo
from .arch.x86_64.layouts import RFlags as RFlags
from .arch.x86_64.vmcs import Event as Event
from .arch.x86_64.vmcs import Vmcs as Vmcs
from .engines.base import EngineStatus as EngineStatus
from .engines.select import engine_statuses as engine_statuses
from .engines.select import hv_support as hv_support
from .errors import BadArgument as BadArgument
from .errors import Busy as Busy
from .errors import Closed as Closed
from .errors import Denied as Denied
from .errors import EngineUnavailable as EngineUnavailable
from .errors import Fault as Fault
from .errors import HvError as HvError
from .errors import HvReturn as HvReturn
from .errors import IllegalGuestState as IllegalGuestState
from .errors import NoDevice as NoDevice
from .errors import NoResources as NoResources
from .errors import Unsupported as Unsupported
from .exits import BadGuestState as BadGuestState
from .exits import Breakpoint as Breakpoint
from .exits import BudgetSpent as BudgetSpent
from .exits import Cpuid as Cpuid
from .exits import CrAccess as CrAccess
from .exits import DeadlinePassed as DeadlinePassed
from .exits import DrAccess as DrAccess
from .exits import Exception as Exception
from .exits import Exit as Exit
from .exits import Halted as Halted
from .exits import Hypercall as Hypercall
from .exits import InterruptWindow as InterruptWindow
from .exits import Kicked as Kicked
from .exits import MmioFetch as MmioFetch
from .exits import MmioLoad as MmioLoad
from .exits import MmioStore as MmioStore
from .exits import MonitorTrap as MonitorTrap
from .exits import MsrRead as MsrRead
from .exits import MsrWrite as MsrWrite
from .exits import NmiWindow as NmiWindow
from .exits import PortIn as PortIn
from .exits import PortOut as PortOut
from .exits import PortOutMany as PortOutMany
from .exits import Shutdown as Shutdown
from .exits import Unnamed as Unnamed
from .exits import Watchpoint as Watchpoint

__version__ = "0.1.0"

# `from pyhv import *` gives everything but the exit `Exception`, which would hide Python's own.
__all__ = [
    "Breakpoints",
    "Point",
    "Controls",
    "ExitInfo",
    "CpuidLeaf",
    "default_cpuid",
    "Interrupts",
    "Mapping",
    "Msrs",
    "Perm",
    "Registers",
    "Segment",
    "SegmentRegister",
    "Segments",
    "Table",
    "Space",
    "CpuState",
    "VCpu",
    "Instruction",
    "VirtualMachine",
    "GPA",
    "GVA",
    "HVA",
    "AccessRights",
    "Cr0",
    "Cr4",
    "Efer",
    "InterruptionInfo",
    "RFlags",
    "Event",
    "Vmcs",
    "EngineStatus",
    "engine_statuses",
    "hv_support",
    "BadArgument",
    "Busy",
    "Closed",
    "Denied",
    "EngineUnavailable",
    "Fault",
    "HvError",
    "HvReturn",
    "IllegalGuestState",
    "NoDevice",
    "NoResources",
    "Unsupported",
    "BadGuestState",
    "Breakpoint",
    "BudgetSpent",
    "Cpuid",
    "CrAccess",
    "DeadlinePassed",
    "DirtyLog",
    "DirtyPages",
    "DrAccess",
    "Exit",
    "Halted",
    "Hypercall",
    "InterruptWindow",
    "Kicked",
    "MmioFetch",
    "MmioLoad",
    "MmioStore",
    "MonitorTrap",
    "MsrRead",
    "MsrWrite",
    "NmiWindow",
    "PortIn",
    "PortOut",
    "PortOutMany",
    "Shutdown",
    "Unnamed",
    "Watchpoint",
]
