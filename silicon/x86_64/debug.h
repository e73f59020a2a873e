// Breakpoints: the guest's, as its debug registers say, and those of whoever runs it.
// Intel SDM vol. 3, "Debug Registers".
#pragma once

#include <set>
#include <vector>

#include "silicon/types.h"

namespace silicon::x86 {

namespace dr6 {
inline constexpr u32 breakpoints = 0xf, bd = 1 << 13, bs = 1 << 14, bt = 1 << 15;
inline constexpr u64 fixed = 0xffff0ff0, writable = 0xe00f;
constexpr u64 written(u64 value) { return (value & writable) | fixed; }
}  // namespace dr6

namespace dr7 {
inline constexpr u64 enables = 0xff, gd = 1 << 13, fixed = 0x400, writable = 0xffff23ff;
constexpr u64 written(u64 value) { return (value & writable) | fixed; }
}  // namespace dr7

// Pending debug exceptions as the VMCS has them: the bits of DR6, and this one where an enabled breakpoint is among them.
inline constexpr u64 pending_enabled = 1 << 12;

// A range of addresses or ports.
struct Watch {
    u64 first = 0, last = 0;
    bool reads = false, writes = false;
    int number = host;  // of the debug register

    static constexpr int host = -1;
    bool touches(u64 from, u64 to) const { return from <= last && first <= to; }
    bool operator==(const Watch&) const = default;
};

class DebugUnit {
  public:
    // True: which data are watched has changed.
    bool set_guest(const u64* dr, bool port_breakpoints);
    void set_host_point(u64 linear, bool on);
    bool set_host_watch(const Watch& watch, bool on);  // false: to be taken away, and not there

    bool any_points() const { return !points_.empty() || !host_points_.empty(); }
    bool any_watches() const { return !watches_.empty(); }
    bool any_ports() const { return !ports_.empty(); }

    bool host_point(u64 linear) const { return host_points_.contains(linear); }
    u32 points_at(u64 linear) const;                    // guest: bits of DR6
    bool points_within(u64 first, u64 last) const;      // anybody's
    bool watches_page(u64 linear) const;
    const Watch* host_watch(u64 from, u64 to, bool write) const;
    u32 watches_at(u64 from, u64 to, bool write) const;  // guest: bits of DR6
    u32 ports_at(u16 port, unsigned size_bytes) const;

  private:
    std::vector<Watch> points_, watches_, ports_;  // of the guest; `watches_` has the host's too
    std::set<u64> host_points_;
};

}  // namespace silicon::x86
