// Why a vCPU left `run`: one fixed record, of which the VMCS read-only fields and the exit objects are two views.
#pragma once

#include <array>

#include "silicon/types.h"

namespace silicon::x86 {

enum class ExitKind : u8 {
    None, PortIn, PortOut, PortOutMany, MmioLoad, MmioStore, MmioFetch, Halted, Shutdown, Kicked, DeadlinePassed,
    BudgetSpent, MonitorTrap, Exception, InterruptWindow, NmiWindow, MsrRead, MsrWrite, Cpuid, Hypercall, CrAccess,
    DrAccess, BadGuestState, Breakpoint, Watchpoint, Unnamed,
};

// Basic exit reasons. Intel SDM vol. 3, appendix "VMX Basic Exit Reasons".
enum class Reason : u32 {
    ExceptionOrNmi = 0, ExternalInterrupt = 1, TripleFault = 2, Init = 3, StartUp = 4, InterruptWindow = 7, NmiWindow = 8, TaskSwitch = 9,
    Cpuid = 10, Hlt = 12, Invd = 13, Invlpg = 14, Rdpmc = 15, Rdtsc = 16, Vmcall = 18, Vmclear = 19,
    Vmlaunch = 20, Vmptrld = 21, Vmptrst = 22, Vmread = 23, Vmresume = 24, Vmwrite = 25, Vmxoff = 26, Vmxon = 27, CrAccess = 28, DrAccess = 29,
    Io = 30, Rdmsr = 31, Wrmsr = 32, BadGuestState = 33, Mwait = 36, MonitorTrap = 37, Monitor = 39, Pause = 40,
    TprBelowThreshold = 43, ApicAccess = 44, GdtrIdtr = 46, LdtrTr = 47, EptViolation = 48, Invept = 50, Rdtscp = 51,
    PreemptionTimer = 52, Invvpid = 53, Wbinvd = 54, Xsetbv = 55, ApicWrite = 56, Invpcid = 58,
};

struct ExitRecord {
    static constexpr u32 max_bytes = 4096;

    ExitKind kind = ExitKind::None;
    u8 size_bytes = 0;  // of one device access
    u16 port = 0;
    Reason reason = Reason::ExternalInterrupt;
    u32 length_bytes = 0;  // of the instruction
    u32 interruption_info = 0;
    u32 interruption_error = 0;
    u32 vectoring_info = 0;
    u32 vectoring_error = 0;
    u32 instruction_info = 0;
    u32 msr = 0;
    u32 count = 1;  // items of a string access
    u64 qualification = 0;
    u64 gva = 0;
    u64 gpa = 0;
    u64 value = 0;  // what a store, OUT or WRMSR brought; leaf and subleaf of CPUID
    u32 data_bytes = 0;
    std::array<u8, max_bytes> data;  // what REP OUTS brought; not cleared between exits
    const char* text = nullptr;      // for BadGuestState: the rule that is broken

    void clear() {
        kind = ExitKind::None;
        length_bytes = interruption_info = interruption_error = vectoring_info = vectoring_error = instruction_info = 0;
        qualification = gva = gpa = value = 0;
        count = 1;
        data_bytes = 0;
        text = nullptr;
    }
};

}  // namespace silicon::x86
