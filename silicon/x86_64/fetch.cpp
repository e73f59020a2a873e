// From RIP to a block: the jump cache, then the blocks by physical address, then the decoder.
#include <algorithm>
#include <cstring>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

Outcome undefined_instruction(Cpu& cpu, const Insn&) { return cpu.raise(vector_ud); }
Outcome instruction_too_long(Cpu& cpu, const Insn&) { return cpu.raise(vector_gp, 0); }

// The filler behind the last instruction of a block.
void fall_through(Cpu& cpu, const Insn* in) { cpu.jump(cpu.gpr[slot_block_rip] + in->offset); }

// RIP-relative operands count from the end of the instruction, the block's register holds its start.
void place_in_block(Insn& in, u16 offset) {
    in.offset = offset;
    if (in.base != slot_block_rip) return;
    const i64 disp = i64{in.disp} + offset + in.length;
    if (disp == static_cast<i32>(disp))
        in.disp = static_cast<i32>(disp);
    else
        in.addressing = Addressing::RipFar;
}

}  // namespace

Block* Cpu::find_block() {
    const u64 linear = in_long64() ? rip : u32(code_base_ + rip);
    const BlockCache::Jump& j = blocks_.jump(linear);
    if (j.key == blocks_.jump_key(linear, cpl == 3)) [[likely]] {
        if (j.block->stamp == stamp_) [[likely]] return j.block;
        if (unchanged(*j.block, linear)) return j.block;
    }
    return look_up(linear);
}

// The short way at the first use after an entry: the TLB still has the page, so the map is what it was when the page was
// marked, and the marks of the block are there, so later writes will be seen; only the bytes can be others.
bool Cpu::unchanged(Block& block, u64 linear) {
    if (block.stamp == 0 || block.mode != (mode & mode::decoding)) return false;
    const TlbEntry& e = tlb[Tlb::index(linear)];
    if (e.fetch != (linear & ~page_offset_mask) || !memory_->holds_all(block.gpa, block.length)) return false;
    if (std::memcmp(reinterpret_cast<const u8*>(linear + e.addend), block.bytes, block.length) != 0) return false;
    block.stamp = stamp_;
    return true;
}

Block* Cpu::look_up(u64 linear) {
    const Segment& cs = at(Seg::Cs);
    if (!in_long64() && rip > cs.limit) {
        raise(vector_gp, 0);
        return nullptr;
    }
    const Translated t = reach(linear, Access::Fetch, by_cpl());
    if (!t.ok) return nullptr;
    if (!t.host) {
        ept_violation(t.gpa, linear, Access::Fetch, false);
        return nullptr;
    }
    Block* block = blocks_.find(t.gpa, mode & mode::decoding);
    if (block && !still_valid(*block, linear)) block = nullptr;
    if (fault_.pending || exit.kind != ExitKind::None) return nullptr;
    if (!block) block = build_block(linear, t.gpa);
    if (block && !in_long64() && block->length > cs.limit - rip + u64{1}) return within_limit(block, linear, t.gpa);
    if (block && !block->second_gpa) blocks_.jump(linear) = {blocks_.jump_key(linear, cpl == 3), block};
    return block;
}

// A block that goes over the end of its code segment: one instruction of it at a time, and none that is cut by the limit.
Block* Cpu::within_limit(Block* block, u64 linear, u64 gpa) {
    if (block->count > 1) {
        const u32 kept = mode;
        mode |= mode::single;
        update_stamp();
        block = blocks_.find(gpa, mode & mode::decoding);
        if (!block || !still_valid(*block, linear)) block = build_block(linear, gpa);
        mode = kept;
        update_stamp();
    }
    if (block && block->length > at(Seg::Cs).limit - rip + u64{1}) {
        raise(vector_gp, 0);
        return nullptr;
    }
    return block;
}

// The block's bytes as memory has them now: up to the end of the page, and beyond it where one instruction goes over.
// False: a fault or an exit on the second page; or the first was taken away since it was looked up, to be looked up again.
bool Cpu::gather(u64 linear, u64 gpa, u8* bytes, size_t& size, u64& second_gpa) {
    const PageEntry page = memory_->entry(gpa);
    if (!page.can_execute()) return false;
    const u64 room = page_bytes - (gpa & page_offset_mask);
    const size_t head = std::min<u64>(room, size);
    for (size_t n = 0; n < head; ++n) bytes[n] = load_host<u8>(page.host() + (gpa & page_offset_mask) + n);
    if (second_gpa && head < size) {
        const Translated t = reach(linear + head, Access::Fetch, by_cpl());
        if (!t.ok) return false;
        if (!t.host) {
            ept_violation(t.gpa, linear + head, Access::Fetch, false);
            return false;
        }
        second_gpa = t.gpa;
        for (size_t n = head; n < size; ++n) bytes[n] = load_host<u8>(t.host + n - head);
    } else {
        size = head;
    }
    return true;
}

// Whether the bytes are still those that were decoded. The pages may have been mapped anew, so they are marked again.
bool Cpu::still_valid(Block& block, u64 linear) {
    if (block.stamp == stamp_ && !block.second_gpa) return true;
    const u64 head = std::min<u64>(block.length, page_bytes - (block.gpa & page_offset_mask));
    memory_->hold_code(block.gpa, head, user_);
    if (block.second_gpa) memory_->hold_code(block.second_gpa & ~page_offset_mask, block.length - head, user_);
    u8 now[Decoder::max_bytes * BlockCache::max_insns];
    size_t size = block.length;
    u64 second = block.second_gpa;
    if (!memory_->entry(block.gpa).can_execute() || !gather(linear, block.gpa, now, size, second)) return false;
    if (second != block.second_gpa || size != block.length || std::memcmp(now, block.bytes, size) != 0) {
        block.stamp = 0;
        return false;
    }
    block.stamp = stamp_;
    return true;
}

// Decodes one block from `bytes`. Truncated: the first instruction goes over the page edge.
static DecodeStatus decode_block(const Decoder& decoder, const CpuidTable& cpuid, u32 mode, const u8* bytes, size_t size,
                                 Block& head, Insn* insns) {
    const unsigned most = mode & mode::single ? 1 : BlockCache::max_insns;
    const Row* row = nullptr;
    bool ended = false;
    while (head.count < most && !ended) {
        Insn& in = insns[head.count];
        DecodeStatus status = decoder.decode(cpuid, bytes + head.length, size - head.length, mode, in, row);
        if (status == DecodeStatus::Truncated && head.count == 0) return status;
        if (status == DecodeStatus::Truncated) break;
        if (status == DecodeStatus::Done) {
            ended = row->ends_block;
        } else {
            in = Insn{};
            in.length = u8(std::min<size_t>(size - head.length, Decoder::max_bytes));  // the bytes that made it undefined
            in.handler = status == DecodeStatus::TooLong ? &ending<&instruction_too_long> : &ending<&undefined_instruction>;
            ended = true;
        }
        place_in_block(in, head.length);
        head.length = u16(head.length + in.length);
        ++head.count;
    }
    insns[head.count] = Insn{};
    insns[head.count].handler = &fall_through;
    insns[head.count].offset = head.length;
    return DecodeStatus::Done;
}

Block* Cpu::build_block(u64 linear, u64 gpa) {
    const u64 began = Clock::host_ns();
    Insn insns[BlockCache::max_insns + 1];
    u8 bytes[Decoder::max_bytes * BlockCache::max_insns], again[sizeof bytes];
    const u64 room = page_bytes - (gpa & page_offset_mask);
    for (;;) {
        Block head;
        head.gpa = gpa;
        head.mode = mode & mode::decoding;
        size_t size = std::min<u64>(sizeof bytes, room);
        if (!gather(linear, gpa, bytes, size, head.second_gpa)) return nullptr;
        if (decode_block(decoder_, cpuid, mode, bytes, size, head, insns) == DecodeStatus::Truncated) {
            if (!in_long64() && at(Seg::Cs).limit - rip < room) {  // the segment ends with the page
                raise(vector_gp, 0);
                return nullptr;
            }
            size = Decoder::max_bytes;
            head.second_gpa = 1;  // any: wanted
            if (!gather(linear, gpa, bytes, size, head.second_gpa)) return nullptr;
            head.count = head.length = 0;
            decode_block(decoder_, cpuid, mode | mode::single, bytes, size, head, insns);
        }
        // What was decoded is marked, then read once more: between the two readings it may have changed.
        const u64 first = std::min<u64>(head.length, room);
        if (head.length <= room) head.second_gpa = 0;
        if (first) memory_->hold_code(gpa, first, user_);
        if (head.second_gpa) memory_->hold_code(head.second_gpa & ~page_offset_mask, head.length - room, user_);
        size_t seen = head.length;
        u64 second = head.second_gpa;
        if (!memory_->entry(gpa).can_execute()) {  // taken away meanwhile
            ept_violation(gpa, linear, Access::Fetch, false);
            return nullptr;
        }
        if (!gather(linear, gpa, again, seen, second)) return nullptr;
        if (seen != head.length || second != head.second_gpa || std::memcmp(bytes, again, seen) != 0) continue;
        head.stamp = stamp_;
        Block* const added = blocks_.add(head, insns, bytes);
        stats_.decode_ns += Clock::host_ns() - began;
        return added;
    }
}

void Cpu::drop_stale_code() {
    std::vector<u64> stale;
    {
        const std::lock_guard mail(user_.lock);
        stale.swap(user_.stale);
    }
    for (const u64 page : stale) blocks_.drop_page(page);
}

}  // namespace silicon::x86
