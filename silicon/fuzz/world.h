// The memory of a case. Every guest page has a host page of its own between two that nobody may touch, and the host's
// rights are no more than the guest's: an access that goes astray ends the process at once.
#pragma once

#include <vector>

#include "silicon/clock.h"
#include "silicon/mem/guest_memory.h"

namespace silicon::fuzz {

// Where things lie. Everything is identity-mapped where the guest has paging.
inline constexpr u64 stack_at = 0x7000, code_at = 0x3000, gdt_at = 0x8000, idt_at = 0xa000, tss_at = 0xc000,
                     ldt_at = 0xd000;
inline constexpr u64 data_at = 0x10000, tables_at = 0x20000, odd_at = 0x30000, ram_bytes = 0x40000;
inline constexpr unsigned code_pages = 4, table_pages = 16;

// Host pages with guards; made once, used by one world at a time.
class HostPages {
  public:
    explicit HostPages(unsigned count);
    ~HostPages();
    HostPages(const HostPages&) = delete;
    HostPages& operator=(const HostPages&) = delete;
    u8* page(unsigned n) const { return memory_ + (2 * u64{n} + 1) * page_bytes; }
    void allow(unsigned n, u8 perm) const;
    unsigned count() const { return count_; }

  private:
    unsigned count_;
    u8* memory_;
};

struct GuestPage {
    u64 gpa;
    u8 perm;
};

// Guest memory made of `pages`, all zero; a copy has the content of another.
class World {
  public:
    World(HostPages& host, const std::vector<GuestPage>& pages);
    World(HostPages& host, const World& of);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    GuestMemory memory;
    Clock clock{1.0};  // one nanosecond an instruction: nothing depends on the host's time
    const std::vector<GuestPage>& pages() const { return pages_; }
    u8* host(u64 gpa) const;  // of any page that is there
    void write(u64 gpa, const void* bytes, u64 size);
    void write64(u64 gpa, u64 value) { write(gpa, &value, sizeof value); }
    bool same_content(const World& other, u64& differs_at) const;

  private:
    HostPages& host_;
    std::vector<GuestPage> pages_;
};

}  // namespace silicon::fuzz
