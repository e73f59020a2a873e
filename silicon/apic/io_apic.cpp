#include "silicon/apic/io_apic.h"

namespace silicon::apic {
namespace {

// A redirection entry.
constexpr u64 logical_mode = 1 << 11, remote_irr = 1 << 14, level_triggered = 1 << 15, masked = 1 << 16;
constexpr u64 writable = 0xff00'0000'0001'afff;  // but delivery status and remote IRR
constexpr unsigned destination_shift = 56, delivery_shift = 8;

constexpr u64 select_offset = 0x00, window_offset = 0x10, eoi_offset = 0x40;
constexpr u32 reg_id = 0, reg_version = 1, reg_arbitration = 2, first_entry = 0x10;
constexpr u32 version = 0x20 | (IoApic::pins - 1) << 16;
constexpr u32 id_bits = 0x0f000000;

}  // namespace

void IoApic::reset() {
    for (u64& entry : entries_) entry = masked;
    id_ = select_ = 0;
}

Message IoApic::message_of(u64 entry) {
    Message message;
    message.destination = u32(entry >> destination_shift);
    message.logical = entry & logical_mode;
    message.delivery = static_cast<Delivery>(entry >> delivery_shift & 7);
    message.vector = u8(entry);
    message.trigger = entry & level_triggered ? Trigger::Level : Trigger::Edge;
    return message;
}

// What a pin sends that is not masked; by level only while no end of interrupt is outstanding.
void IoApic::send(unsigned pin) {
    u64& entry = entries_[pin];
    if (entry & masked || (entry & level_triggered && entry & remote_irr)) return;
    Message message = message_of(entry);
    const bool by_level = message.delivery == Delivery::Fixed || message.delivery == Delivery::LowestPriority;
    if (!by_level) message.trigger = Trigger::Edge;
    if (sink_.deliver(message) && by_level && entry & level_triggered) entry |= remote_irr;
}

// An edge on a masked pin is not kept: "Interrupt Mask" of the redirection table.
void IoApic::set_pin(unsigned pin, bool high) {
    const u32 bit = u32{1} << pin;
    const bool was = levels_ & bit;
    levels_ = high ? levels_ | bit : levels_ & ~bit;
    if (high && (!was || entries_[pin] & level_triggered)) send(pin);
}

void IoApic::end_of_interrupt(u8 vector) {
    for (unsigned pin = 0; pin < pins; ++pin) {
        u64& entry = entries_[pin];
        if (!(entry & level_triggered && entry & remote_irr) || u8(entry) != vector) continue;
        entry &= ~remote_irr;
        if (levels_ >> pin & 1) send(pin);
    }
}

void IoApic::retry() {
    for (unsigned pin = 0; pin < pins; ++pin)
        if (levels_ >> pin & 1 && entries_[pin] & level_triggered) send(pin);
}

u32 IoApic::read_register() const {
    if (select_ == reg_id || select_ == reg_arbitration) return id_;
    if (select_ == reg_version) return version;
    const u32 entry = (select_ - first_entry) / 2;
    if (select_ < first_entry || entry >= pins) return 0;
    return u32(entries_[entry] >> (select_ & 1 ? 32 : 0));
}

u32 IoApic::read(u64 offset) const {
    if (offset == select_offset) return select_;
    return offset == window_offset ? read_register() : 0;
}

void IoApic::write_entry(unsigned pin, bool high_half, u32 value) {
    u64& entry = entries_[pin];
    const u64 half = high_half ? 0xffffffff00000000 : 0xffffffff, mine = half & writable;
    entry = (entry & ~mine) | ((high_half ? u64{value} << 32 : value) & mine);
    if (!(entry & level_triggered)) entry &= ~remote_irr;
    if (levels_ >> pin & 1 && entry & level_triggered) send(pin);
}

void IoApic::write_register(u32 value) {
    if (select_ == reg_id) id_ = value & id_bits;
    const u32 entry = (select_ - first_entry) / 2;
    if (select_ >= first_entry && entry < pins) write_entry(entry, select_ & 1, value);
}

void IoApic::write(u64 offset, u32 value) {
    if (offset == select_offset) select_ = value & 0xff;
    if (offset == window_offset) write_register(value);
    if (offset == eoi_offset) end_of_interrupt(u8(value));
}

IoState IoApic::save() const {
    IoState saved{};
    for (unsigned pin = 0; pin < 32; ++pin) saved.rtbl[pin] = pin < pins ? entries_[pin] : masked;
    saved.irr = levels_;
    saved.ioa_id = id_;
    saved.ioregsel = select_;
    return saved;
}

bool IoApic::load(const IoState& saved) {
    for (unsigned pin = 0; pin < pins; ++pin)
        if (saved.rtbl[pin] & ~(writable | remote_irr)) return false;
    if (saved.irr >> pins || saved.ioa_id & ~id_bits || saved.ioregsel > 0xff) return false;
    for (unsigned pin = 0; pin < pins; ++pin) entries_[pin] = saved.rtbl[pin];
    levels_ = saved.irr;
    id_ = saved.ioa_id;
    select_ = saved.ioregsel;
    return true;
}

}  // namespace silicon::apic
