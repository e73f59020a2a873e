#include "silicon/apic/pic.h"

namespace silicon::apic {
namespace {

constexpr u8 icw1_start = 0x10, icw1_alone = 0x02, icw1_icw4 = 0x01;
constexpr u8 icw4_auto_eoi = 0x02, icw4_nested = 0x10;
constexpr u8 ocw3 = 0x08, ocw3_poll = 0x04, ocw3_read = 0x02, ocw3_service = 0x01, ocw3_mask_enable = 0x40, ocw3_mask = 0x20;
constexpr u8 ocw2_rotate = 0x80, ocw2_specific = 0x40, ocw2_end = 0x20;
constexpr u8 always_edge_primary = 0x07, always_edge_secondary = 0x21;  // timer, keyboard, cascade; clock, coprocessor

}  // namespace

void PicChip::reset() {
    const u8 kept_levels = last_request, kept_elc = elc;
    static_cast<PicState&>(*this) = PicState{};
    mask = 0xff;  // nothing before it is initialized
    lowprio = 7;
    last_request = kept_levels;
    elc = kept_elc;
}

void PicChip::set_line(unsigned line, bool high) {
    const u8 bit = u8(1 << line);
    const bool was = last_request & bit;
    if (by_level() & bit)
        request = u8(high ? request | bit : request & ~bit);
    else if (high && !was)
        request |= bit;
    last_request = u8(high ? last_request | bit : last_request & ~bit);
}

// The most urgent line in service that keeps others out; one that special mask mode has masked keeps nobody out.
int PicChip::in_service() const {
    const u8 counts = u8(smm ? service & ~mask : service);
    for (unsigned rank = 0; rank < lines; ++rank)
        if (counts >> by_rank(rank) & 1) return int(rank);
    return -1;
}

int PicChip::highest() const {
    if (!ready) return -1;
    const u8 waiting = request & u8(~mask);
    if (!waiting) return -1;
    const int busy = in_service();
    for (unsigned rank = 0; rank < lines; ++rank) {
        const unsigned line = by_rank(rank);
        // Special fully nested mode: the other chip interrupts again while its line is in service.
        const bool nests = sfn && primary_ && line == 2;
        if (busy >= 0 && (nests ? int(rank) > busy : int(rank) >= busy)) return -1;
        if (waiting >> line & 1) return int(line);
    }
    return -1;
}

unsigned PicChip::acknowledge() {
    const int line = highest();
    if (line < 0) return 7;
    const u8 bit = u8(1 << line);
    if (!(by_level() & bit)) request &= u8(~bit);
    if (!aeoi)
        service |= bit;
    else if (rotate)
        lowprio = u8(line);
    return unsigned(line);
}

u8 PicChip::read_command() {
    if (!poll) return rd_cmd_reg ? service : request;
    poll = 0;
    const int line = highest();
    if (line < 0) return 0;
    acknowledge();
    return u8(0x80 | line);
}

void PicChip::initialize(u8 icw1) {
    const u8 kept_base = irq_base;
    reset();
    mask = 0;
    irq_base = kept_base;
    request = last_request & by_level();  // edges are forgotten
    icw_num = 2;
    wants_icw4_ = icw1 & icw1_icw4;
    alone_ = icw1 & icw1_alone;
}

void PicChip::end_of_interrupt(u8 ocw2) {
    const bool ends = ocw2 & ocw2_end, specific = ocw2 & ocw2_specific, rotates = ocw2 & ocw2_rotate;
    unsigned line = ocw2 & 7;
    if (!ends && !specific) {  // rotate in automatic end-of-interrupt mode
        rotate = rotates;
        return;
    }
    if (ends && !specific) {
        const int rank = in_service();
        if (rank < 0) return;
        line = by_rank(unsigned(rank));
    }
    if (ends) service &= u8(~(1 << line));
    if (rotates) lowprio = u8(line);
}

void PicChip::write_command(u8 value) {
    if (value & icw1_start) return initialize(value);
    if (!(value & ocw3)) return end_of_interrupt(value);
    if (value & ocw3_mask_enable) smm = (value & ocw3_mask) != 0;
    if (value & ocw3_poll) poll = 1;
    if (value & ocw3_read) rd_cmd_reg = value & ocw3_service;
}

// The mask, or while it is initialized the words 2 to 4.
void PicChip::write_mask(u8 value) {
    switch (icw_num) {
        case 2:
            irq_base = value & 0xf8;
            icw_num = alone_ ? 4 : 3;
            break;
        case 3: icw_num = 4; break;  // who is on which line is wired
        case 4:
            aeoi = (value & icw4_auto_eoi) != 0;
            sfn = (value & icw4_nested) != 0;
            icw_num = 5;
            break;
        default: mask = value; return;
    }
    if (icw_num == 5 || (icw_num == 4 && !wants_icw4_)) {
        icw_num = 0;
        ready = 1;
    }
}

void PicChip::set_edge_level(u8 value) {
    elc = u8(value & ~(primary_ ? always_edge_primary : always_edge_secondary));
    request = u8((request & ~by_level()) | (last_request & by_level()));
}

bool PicChip::accepts(const PicState& saved) const {
    const u8 flags[] = {saved.ready, saved.rd_cmd_reg, saved.aeoi, saved.poll, saved.rotate, saved.sfn, saved.smm, saved.intr_raised};
    for (const u8 flag : flags)
        if (flag > 1) return false;
    return saved.icw_num <= 4 && saved.lowprio < lines && !(saved.irq_base & 7) &&
           !(saved.elc & (primary_ ? always_edge_primary : always_edge_secondary));
}

void PicPair::set_line(unsigned irq, bool high) {
    if (irq == cascade) return;
    if (irq < 8) return primary_.set_line(irq, high);
    secondary_.set_line(irq - 8, high);
    feed_cascade();
}

u8 PicPair::acknowledge() {
    const unsigned line = primary_.acknowledge();
    if (line != cascade) return u8(primary_.irq_base + line);
    const unsigned second = secondary_.acknowledge();
    feed_cascade();
    return u8(secondary_.irq_base + second);
}

u8 PicPair::read(u16 port) {
    if (port >= 0x4d0) return (port == 0x4d0 ? primary_ : secondary_).edge_level();
    PicChip& chip = port < 0xa0 ? primary_ : secondary_;
    const u8 value = port & 1 ? chip.read_mask() : chip.read_command();
    feed_cascade();  // a poll acknowledges
    return value;
}

void PicPair::write(u16 port, u8 value) {
    if (port >= 0x4d0) {
        (port == 0x4d0 ? primary_ : secondary_).set_edge_level(value);
    } else {
        PicChip& chip = port < 0xa0 ? primary_ : secondary_;
        port & 1 ? chip.write_mask(value) : chip.write_command(value);
    }
    feed_cascade();
}

PicState PicPair::save(bool primary) const {
    PicState saved = primary ? primary_ : secondary_;
    saved.intr_raised = (primary ? primary_ : secondary_).highest() >= 0;
    return saved;
}

bool PicPair::load(bool primary, const PicState& saved) {
    PicChip& chip = primary ? primary_ : secondary_;
    if (!chip.accepts(saved)) return false;
    static_cast<PicState&>(chip) = saved;
    feed_cascade();
    return true;
}

}  // namespace silicon::apic
