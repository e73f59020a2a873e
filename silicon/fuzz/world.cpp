#include "silicon/fuzz/world.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace silicon::fuzz {

HostPages::HostPages(unsigned count) : count_(count) {
    void* memory =
        mmap(nullptr, (2 * u64{count} + 1) * page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        std::perror("hv-fuzz: guest memory");
        std::exit(2);
    }
    memory_ = static_cast<u8*>(memory);
}

HostPages::~HostPages() { munmap(memory_, (2 * u64{count_} + 1) * page_bytes); }

void HostPages::allow(unsigned n, u8 perm) const {
    const int rights = perm & perm_write ? PROT_READ | PROT_WRITE : perm ? PROT_READ : PROT_NONE;
    if (mprotect(page(n), page_bytes, rights) != 0) {
        std::perror("hv-fuzz: rights of guest memory");
        std::exit(2);
    }
}

World::World(HostPages& host, const std::vector<GuestPage>& pages) : host_(host), pages_(pages) {
    for (unsigned n = 0; n < pages_.size(); ++n) {
        host_.allow(n, perm_all);
        std::memset(host_.page(n), 0, page_bytes);
        if (pages_[n].perm != perm_all) host_.allow(n, pages_[n].perm);
        memory.map(pages_[n].gpa, host_.page(n), page_bytes, pages_[n].perm);
    }
}

World::World(HostPages& host, const World& of) : World(host, of.pages_) {
    for (unsigned n = 0; n < pages_.size(); ++n)
        if (pages_[n].perm) write(pages_[n].gpa, of.host_.page(n), page_bytes);
}

World::~World() {
    for (const GuestPage& page : pages_) memory.unmap(page.gpa, page_bytes);
}

u8* World::host(u64 gpa) const {
    for (unsigned n = 0; n < pages_.size(); ++n)
        if (pages_[n].gpa == (gpa & ~page_offset_mask)) return host_.page(n) + (gpa & page_offset_mask);
    std::fprintf(stderr, "hv-fuzz: no page at %#llx\n", static_cast<unsigned long long>(gpa));
    std::abort();
}

// By the case, not by the guest: rights do not count, except that what cannot be read stays as it is.
void World::write(u64 gpa, const void* bytes, u64 size) {
    const auto* from = static_cast<const u8*>(bytes);
    for (u64 done = 0; done < size;) {
        const u64 room = page_bytes - ((gpa + done) & page_offset_mask), part = room < size - done ? room : size - done;
        for (unsigned n = 0; n < pages_.size(); ++n) {
            if (pages_[n].gpa != ((gpa + done) & ~page_offset_mask)) continue;
            if (!(pages_[n].perm & perm_write)) host_.allow(n, perm_all);
            std::memcpy(host_.page(n) + ((gpa + done) & page_offset_mask), from + done, part);
            if (!(pages_[n].perm & perm_write)) host_.allow(n, pages_[n].perm);
        }
        done += part;
    }
}

bool World::same_content(const World& other, u64& differs_at) const {
    for (unsigned n = 0; n < pages_.size(); ++n) {
        if (!pages_[n].perm || std::memcmp(host_.page(n), other.host_.page(n), page_bytes) == 0) continue;
        const u8 *mine = host_.page(n), *theirs = other.host_.page(n);
        u64 at = 0;
        while (mine[at] == theirs[at]) ++at;
        differs_at = pages_[n].gpa + at;
        return false;
    }
    return true;
}

}  // namespace silicon::fuzz
