// Two 8259A interrupt controllers, the second on line 2 of the first, as a PC has them, with the edge/level registers of its
// chip set. Intel, "8259A Programmable Interrupt Controller"; "82371FB (PIIX)", "Edge/Level Triggered Registers".
#pragma once

#include "silicon/apic/state.h"

namespace silicon::apic {

// One of the two. Its registers are those of its saved state.
class PicChip : public PicState {
  public:
    explicit PicChip(bool primary) : PicState{}, primary_(primary) { reset(); }
    void reset();
    void set_line(unsigned line, bool high);
    int highest() const;  // the line that it interrupts with, or -1
    unsigned acknowledge();  // puts that into service; 7 where there is none any more
    u8 read_command();
    u8 read_mask() { return poll ? read_command() : mask; }
    void write_command(u8 value);
    void write_mask(u8 value);
    u8 edge_level() const { return elc; }
    void set_edge_level(u8 value);
    bool accepts(const PicState& saved) const;

  private:
    static constexpr unsigned lines = 8;
    unsigned by_rank(unsigned rank) const { return (lowprio + 1 + rank) % lines; }  // 0: the most urgent
    void initialize(u8 icw1);
    void end_of_interrupt(u8 ocw2);
    int in_service() const;
    u8 by_level() const { return u8(elc | (primary_ ? 1 << 2 : 0)); }  // the other chip's output is one, too

    bool primary_;
    bool wants_icw4_ = false, alone_ = false;
};

class PicPair {
  public:
    static constexpr unsigned cascade = 2;

    void set_line(unsigned irq, bool high);
    bool output() const { return primary_.highest() >= 0; }
    u8 acknowledge();  // the vector; also where the request has gone: a spurious one
    static bool owns(u16 port) { return (port & ~u16{0x81}) == 0x20 || port == 0x4d0 || port == 0x4d1; }
    u8 read(u16 port);
    void write(u16 port, u8 value);
    PicState save(bool primary) const;
    bool load(bool primary, const PicState& saved);  // false: no such state, and nothing has changed

  private:
    void feed_cascade() { primary_.set_line(cascade, secondary_.highest() >= 0); }
    PicChip primary_{true}, secondary_{false};
};

}  // namespace silicon::apic
