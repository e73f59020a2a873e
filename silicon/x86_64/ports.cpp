// I/O ports: permission, exits and their answers. Intel SDM vol. 1, "Input/Output".
#include <algorithm>
#include <cstring>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/interrupt_unit.h"

namespace silicon::x86 {
namespace {

constexpr u32 form_in = 1 << 3, form_string = 1 << 4, form_rep = 1 << 5;

}  // namespace

bool Cpu::port_allowed(u16 port, unsigned size_bytes) {
    const bool by_level = cpl <= (rflags & flag::iopl) >> 12 && !(mode & mode::virtual8086);
    if (!in_protected() || by_level) return true;
    const Segment& tss = at(Seg::Tr);
    const bool wide_tss = (tss.rights & 0x8) != 0 && !(tss.rights & ar::unusable);
    if (wide_tss && tss.limit >= 103) {
        const auto map = system_load<u16>(tss.base + 102);
        if (!map.ok) return false;
        const u32 at_byte = map.value + port / 8u;
        if (at_byte + 1 <= tss.limit) {
            const auto bits = system_load<u16>(tss.base + at_byte);
            if (!bits.ok) return false;
            if (!(bits.value >> (port & 7) & ((1u << size_bytes) - 1))) return true;
        }
    }
    raise(vector_gp, 0);
    return false;
}

static u64 qualification(u16 port, unsigned size_bytes, u32 form) { return (size_bytes - 1) | form | u64{port} << 16; }

Slow Cpu::port_in(u16 port, unsigned size_bytes, u32 count, u32 form) {
    if (debug_.any_ports() && touch_port(port, size_bytes)) return {0, Outcome::Stop};
    if (unit_owns_port(port)) return {unit_->in(port, size_bytes), Outcome::Next};
    if (const Piece* piece = pieces_.take(Piece::Kind::PortIn, port, size_bytes)) return {piece->value, Outcome::Next};
    auto& bytes = pieces_.answer_bytes();
    if (form & form_string && bytes.size() >= size_bytes) {
        u64 value = 0;
        std::memcpy(&value, bytes.data(), size_bytes);
        bytes.erase(bytes.begin(), bytes.begin() + size_bytes);
        pieces_.push({Piece::Kind::PortIn, u8(size_bytes), false, port, value});
        pieces_.take(Piece::Kind::PortIn, port, size_bytes);
        return {value, Outcome::Next};
    }
    if (posted_) return {0, Outcome::Stop};
    if (!port_exits(port, size_bytes)) return {~u64{0}, Outcome::Next};  // nothing is there
    stop_with(ExitKind::PortIn, Reason::Io, qualification(port, size_bytes, form | form_in));
    exit.port = port;
    exit.size_bytes = u8(size_bytes);
    exit.count = std::max<u32>(1, std::min<u32>(count, ExitRecord::max_bytes / size_bytes));
    unanswered_ = !raw_;
    return {0, Outcome::Stop};
}

Outcome Cpu::port_out(u16 port, unsigned size_bytes, u32 value, u32 form) {
    if (debug_.any_ports() && touch_port(port, size_bytes)) return Outcome::Stop;
    if (unit_owns_port(port)) return unit_->out(port, size_bytes, value);
    if (!port_exits(port, size_bytes)) return Outcome::Next;
    stop_with(ExitKind::PortOut, Reason::Io, qualification(port, size_bytes, form));
    exit.port = port;
    exit.size_bytes = u8(size_bytes);
    exit.value = value;
    return raw_ ? Outcome::Stop : Outcome::Leave;
}

Outcome Cpu::port_out_many(u16 port, unsigned size_bytes, const u8* data, u32 data_bytes) {
    if (unit_owns_port(port)) {
        for (u32 done = 0; done < data_bytes; done += size_bytes) {
            u32 value = 0;
            std::memcpy(&value, data + done, size_bytes);
            unit_->out(port, size_bytes, value);
        }
        return Outcome::Leave;
    }
    if (port_out(port, size_bytes, 0, form_string | form_rep) == Outcome::Stop) return Outcome::Stop;
    exit.kind = ExitKind::PortOutMany;
    exit.data_bytes = data_bytes;
    std::memcpy(exit.data.data(), data, data_bytes);
    return Outcome::Leave;
}

}  // namespace silicon::x86
