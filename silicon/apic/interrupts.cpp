#include "silicon/apic/interrupts.h"

#include <algorithm>

namespace silicon::apic {

void Interrupts::join(LocalApic& local) {
    const std::lock_guard hold(lock_);
    const auto by_index = [](const LocalApic* a, const LocalApic* b) { return a->index() < b->index(); };
    locals_.insert(std::upper_bound(locals_.begin(), locals_.end(), &local, by_index), &local);
    count_.store(unsigned(locals_.size()), std::memory_order_relaxed);
    local.set_ext_line(pic_output_);
}

void Interrupts::part(LocalApic& local) {
    const std::lock_guard hold(lock_);
    std::erase(locals_, &local);
    count_.store(unsigned(locals_.size()), std::memory_order_relaxed);
}

bool Interrupts::send(const Message& message, LocalApic* from) {
    const std::lock_guard hold(lock_);
    return route(message, from);
}

bool Interrupts::addressed(const Message& message, const LocalApic& local, const LocalApic* from) {
    switch (message.shorthand) {
        case Shorthand::Self: return &local == from;
        case Shorthand::All: return true;
        case Shorthand::Others: return &local != from;
        case Shorthand::None: break;
    }
    return local.matches(message);
}

// Intel SDM vol. 3, "Lowest Priority Delivery Mode": of equals the lowest index.
bool Interrupts::to_least_busy(const Message& message, const LocalApic* from) {
    LocalApic* chosen = nullptr;
    for (LocalApic* local : locals_)
        if (addressed(message, *local, from) && local->accepts_fixed() &&
            (!chosen || local->arbitration_priority() < chosen->arbitration_priority()))
            chosen = local;
    return chosen && chosen->post(message);
}

// For a client that starts processors itself.
bool Interrupts::report(const Message& message, LocalApic& from) {
    u64 targets = 0;
    for (const LocalApic* local : locals_)
        if (addressed(message, *local, &from)) targets |= u64{1} << local->index();
    const auto kind = message.delivery == Delivery::Init      ? Notice::Kind::InitAp
                      : message.delivery == Delivery::StartUp ? Notice::Kind::StartUpAp
                                                              : Notice::Kind::Smi;
    if (targets) from.notice = {kind, message.vector, targets};
    return targets != 0;
}

bool Interrupts::route(const Message& message, LocalApic* from) {
    const bool starts = message.delivery == Delivery::Init || message.delivery == Delivery::StartUp || message.delivery == Delivery::Smi;
    if (from && from->reports() && starts) return report(message, *from);
    if (message.delivery == Delivery::LowestPriority) return to_least_busy(message, from);
    bool taken = false;
    for (LocalApic* local : locals_)
        if (addressed(message, *local, from)) taken |= local->post(message);
    return taken;
}

void Interrupts::set_pin(unsigned pin, bool high) {
    const std::lock_guard hold(lock_);
    io_.set_pin(pin, high);
}

// IRQ 0 is on pin 2, where the cascade would be: an interrupt source override of the MADT says so.
void Interrupts::set_irq(unsigned irq, bool high) {
    const std::lock_guard hold(lock_);
    if (irq == PicPair::cascade) return;
    pic_.set_line(irq, high);
    pic_changed();
    io_.set_pin(irq == 0 ? 2 : irq, high);
}

void Interrupts::set_pic_line(unsigned irq, bool high) {
    const std::lock_guard hold(lock_);
    pic_.set_line(irq, high);
    pic_changed();
}

// The pair's output: LINT0 of every processor, and pin 0 of the I/O APIC.
void Interrupts::pic_changed() {
    const bool high = pic_.output();
    if (high == pic_output_) return;
    pic_output_ = high;
    io_.set_pin(0, high);
    for (LocalApic* local : locals_) local->set_ext_line(high);
}

// Intel SDM vol. 3, "Message Address Register Format", "Message Data Register Format".
bool Interrupts::send_msi(u64 address, u64 data) {
    constexpr u64 hint = 1 << 3, logical = 1 << 2, level = 1 << 15, asserted = 1 << 14;
    Message message;
    message.destination = u8(address >> 12);
    message.logical = address & logical;
    message.delivery = static_cast<Delivery>(data >> 8 & 7);
    message.vector = u8(data);
    message.trigger = data & level ? Trigger::Level : Trigger::Edge;
    if (address & hint && message.delivery == Delivery::Fixed) message.delivery = Delivery::LowestPriority;
    if (data & level && !(data & asserted)) return true;  // the end of a level: nothing to take back
    return send(message);
}

void Interrupts::end_of_interrupt(u8 vector) {
    const std::lock_guard hold(lock_);
    io_.end_of_interrupt(vector);
}

void Interrupts::retry() {
    const std::lock_guard hold(lock_);
    io_.retry();
}

u32 Interrupts::io_read(u64 offset) {
    const std::lock_guard hold(lock_);
    return io_.read(offset);
}

void Interrupts::io_write(u64 offset, u32 value) {
    const std::lock_guard hold(lock_);
    io_.write(offset, value);
}

u8 Interrupts::pic_read(u16 port) {
    const std::lock_guard hold(lock_);
    const u8 value = pic_.read(port);
    pic_changed();
    return value;
}

void Interrupts::pic_write(u16 port, u8 value) {
    const std::lock_guard hold(lock_);
    pic_.write(port, value);
    pic_changed();
}

// The output falls and rises again where more waits, so that an edge-triggered pin sees it.
u8 Interrupts::acknowledge_pic() {
    const std::lock_guard hold(lock_);
    const u8 vector = pic_.acknowledge();
    io_.set_pin(0, false);
    pic_output_ = false;
    pic_changed();
    if (!pic_output_)
        for (LocalApic* local : locals_) local->set_ext_line(false);
    return vector;
}

IoState Interrupts::save_io() {
    const std::lock_guard hold(lock_);
    return io_.save();
}

bool Interrupts::load_io(const IoState& saved) {
    const std::lock_guard hold(lock_);
    return io_.load(saved);
}

PicState Interrupts::save_pic(bool primary) {
    const std::lock_guard hold(lock_);
    return pic_.save(primary);
}

bool Interrupts::load_pic(bool primary, const PicState& saved) {
    const std::lock_guard hold(lock_);
    if (!pic_.load(primary, saved)) return false;
    pic_changed();
    return true;
}

u64 Interrupts::earliest_due() {
    const std::lock_guard hold(lock_);
    u64 due = no_time;
    for (const LocalApic* local : locals_) due = std::min(due, local->next_due.load(std::memory_order_seq_cst));
    return due;
}

}  // namespace silicon::apic
