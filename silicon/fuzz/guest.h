// A guest of random bits: its memory, tables, code and state.
#pragma once

#include <string>
#include <vector>

#include "silicon/fuzz/fuzz.h"
#include "silicon/fuzz/world.h"
#include "silicon/x86_64/cpu.h"

namespace silicon::fuzz {

enum class Mode : u8 { Real, Virtual8086, Protected, Segmented, Paged32, Pae, Long, Compatible, Long5, Wild, Count };

std::vector<GuestPage> random_pages(Chance& chance);
u64 random_table(Chance& chance);  // the place of one
void fill_code(Chance& chance, World& world);
void fill_tables(Chance& chance, World& world);
void fill_page_tables(Chance& chance, World& world, Mode mode);
void enter_mode(Chance& chance, x86::Cpu& cpu, Mode mode);
void random_registers(Chance& chance, x86::Cpu& cpu);
void random_bits(Chance& chance, x86::Cpu& cpu);  // anywhere in the state, for guests whose state nobody has checked

std::string where(x86::Cpu& cpu);
// Makes one run and sees that its promises are kept.
void run_once(Case& it, x86::Cpu& cpu, const x86::RunLimits& limits);
// Some answer to the exit, if it waits for one. False: there is nothing to go on with.
bool go_on(Chance& chance, x86::Cpu& cpu);

// Registers, MSRs, VMCS fields, XSAVE image and unfinished instruction of `from`, by the same doors as a saved state.
void copy_state(const x86::Cpu& from, x86::Cpu& to);
// All that is copied, in a row; and what differs between two rows, or an empty text.
std::vector<u64> values_of(const x86::Cpu& cpu);
std::string difference(const std::vector<u64>& a, const std::vector<u64>& b);

}  // namespace silicon::fuzz
