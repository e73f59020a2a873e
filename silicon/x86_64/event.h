// What passes between a vCPU, its handlers and whoever runs it: events, values of accesses, limits, counts.
#pragma once

#include "silicon/mem/guest_access.h"
#include "silicon/types.h"

namespace silicon::x86 {

enum Vector : u8 {
    vector_de = 0, vector_db = 1, vector_nmi = 2, vector_bp = 3, vector_of = 4, vector_br = 5, vector_ud = 6, vector_nm = 7,
    vector_df = 8, vector_ts = 10, vector_np = 11, vector_ss = 12, vector_gp = 13, vector_pf = 14, vector_mf = 16,
    vector_ac = 17, vector_mc = 18, vector_xm = 19,
};

// How an event came about, numbered as in the VMX interruption information.
enum class EventType : u8 { External = 0, Nmi = 2, Hardware = 3, Software = 4, PrivilegedSoftware = 5, SoftwareException = 6, MonitorTrap = 7 };

struct Event {
    bool pending = false;
    u8 vector = 0;
    EventType type = EventType::Hardware;
    bool has_error = false;
    bool not_canonical = false;  // #GP of an address, which is #SS where the segment is SS
    u32 error = 0;
    u64 address = 0;  // of a page fault
    u8 length = 0;    // of the instruction, for software events: the return address is behind it
    u32 debug = 0;    // of a #DB: what it sets in DR6
    bool sets_rf = false;  // a #DB that comes back with RF

    u32 info() const { return vector | u32(type) << 8 | u32(has_error) << 11 | u32{1} << 31; }
};

// As whom an access is made: by the CPL, or by the processor itself. Intel SDM vol. 3, "Access Rights": an implicit access to a
// system table (System) is a supervisor's whatever the CPL, and EFLAGS.AC does not open user pages to it.
enum class Privilege : u8 { User, Supervisor, System };

// A value and whether it came: both in registers, so that handlers keep no variable in memory.
struct Slow {
    u64 value;
    Outcome outcome;
};
template <class T>
struct Loaded {
    T value;
    bool ok;
};
struct Linear {
    u64 value;
    bool ok;
};

struct RunLimits {
    u64 deadline_ns = ~u64{0};  // on the VM's clock
    u64 budget = ~u64{0};       // instructions
    bool one = false;           // a single instruction: MonitorTrap
    u64 host_slice_ns = ~u64{0};  // so long, then `run` returns without an exit (None), to be called again
};

struct RunStats {
    u64 exits = 0, blocks_decoded = 0, tlb_misses = 0, faults = 0, code_writes = 0;
    u64 decode_ns = 0, miss_ns = 0;  // the latter by samples
};

}  // namespace silicon::x86
