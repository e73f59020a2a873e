// Control of the x87 unit, and its state in memory. Rows: spec/x86_64/x87_control.toml.
#include <cstring>

#include "silicon/x86_64/ops/table.h"
#include "silicon/x86_64/x87.h"

namespace silicon::x86 {
namespace {

SILICON_INLINE void initialise(Cpu& cpu, const Insn&) { initialise_x87(cpu); }

// Intel SDM vol. 2, "WAIT/FWAIT—Wait".
SILICON_INLINE Outcome wait(Cpu& cpu, const Insn&) {
    if (cpu.cr0 & cr0::mp && cpu.cr0 & cr0::ts) return cpu.raise(vector_nm);
    return x87_raises(cpu) ? cpu.raise(vector_mf) : Outcome::Next;
}

SILICON_INLINE void clear_exceptions(Cpu& cpu, const Insn&) {
    cpu.fx.fsw &= x87::condition | x87::top;
    cpu.x87_changed();
}

// FNENI, FNDISI, FNSETPM: of coprocessors before the 387. Intel SDM vol. 3, "x87 FPU".
SILICON_INLINE void nothing(Cpu&, const Insn&) {}

template <class Dst>
SILICON_INLINE Outcome store_control(Cpu& cpu, const Insn& in) {
    return Dst::store(cpu, in, cpu.fx.fcw);
}

template <class Dst>
SILICON_INLINE Outcome store_status(Cpu& cpu, const Insn& in) {
    return Dst::store(cpu, in, cpu.fx.fsw);
}

void set_control(Cpu& cpu, u16 value) {
    cpu.fx.fcw = x87::control_of(value);
    cpu.fx.fsw = x87::with_summary(cpu.fx.fsw, cpu.fx.fcw);
    cpu.x87_changed();
}

template <class Src>
SILICON_INLINE Outcome load_control(Cpu& cpu, const Insn& in) {
    if (x87_raises(cpu)) return cpu.raise(vector_mf);
    const auto value = Src::load(cpu, in);
    if (!value.ok) return Outcome::Stop;
    set_control(cpu, value.value);
    return Outcome::Next;
}

// The environment is seven words of the operand size, the registers follow. Intel SDM vol. 1, "Saving the x87 FPU's State
// with FSTENV/FNSTENV and FSAVE/FNSAVE".
enum : unsigned { word_control, word_status, word_tags, word_ip, word_cs, word_dp, word_ds, environment_words };
constexpr unsigned most_words = 47;  // of 16 bits: with the registers

template <class Word>
constexpr unsigned image_words(bool registers) {
    return environment_words + (registers ? 80 / sizeof(Word) : 0);
}

// The bits that are reserved are ones where a word has only its lower half.
template <class Word>
Word half_word(u64 value) {
    return Word(sizeof(Word) == 4 ? u16(value) | 0xffff0000u : u16(value));
}

// In protected mode selectors stand behind the offsets, and the opcode above the one of CS if there is room; in real and
// virtual-8086 mode the high bits of linear addresses do.
template <class Word>
void make_environment(const Cpu& cpu, Word* words) {
    const FxState& fx = cpu.fx;
    const bool selectors = cpu.in_protected() && !(cpu.mode & mode::virtual8086);
    words[word_control] = half_word<Word>(fx.fcw);
    words[word_status] = half_word<Word>(fx.fsw);
    words[word_tags] = half_word<Word>(full_x87_tags(fx));
    words[word_ip] = selectors ? Word(fx.fip) : half_word<Word>(fx.fip);
    words[word_dp] = selectors ? Word(fx.fdp) : half_word<Word>(fx.fdp);
    const auto high_bits = [](u64 pointer) { return Word(sizeof(Word) == 4 ? pointer >> 16 << 12 : pointer >> 16 << 12 & 0xf000); };
    words[word_cs] = selectors ? Word(sizeof(Word) == 4 ? u32{fx.fop} << 16 : 0) : Word(high_bits(fx.fip) | fx.fop);
    words[word_ds] = selectors ? half_word<Word>(0) : high_bits(fx.fdp);
}

template <class Word>
void take_environment(Cpu& cpu, const Word* words) {
    FxState& fx = cpu.fx;
    const bool selectors = cpu.in_protected() && !(cpu.mode & mode::virtual8086);
    fx.fsw = u16(words[word_status]);
    fx.ftw = abridged_x87_tags(u16(words[word_tags]));
    const auto linear = [](Word low, Word high) { return u64{u16(low)} | u64{high} >> 12 << 16; };
    fx.fip = selectors ? words[word_ip] : linear(words[word_ip], words[word_cs]);
    fx.fdp = selectors ? words[word_dp] : linear(words[word_dp], words[word_ds]);
    fx.fop = !selectors ? words[word_cs] & 0x7ff : sizeof(Word) == 4 ? words[word_cs] >> 16 & 0x7ff : 0;
    set_control(cpu, u16(words[word_control]));
}

// Where an image of `count` words is, if all of it can be reached: processors look at its first word, then at its last byte.
template <class Word>
Linear reach_image(Cpu& cpu, const Insn& in, unsigned count, Access access) {
    const auto reach = [&](const Linear& at, unsigned size_bytes) {
        return at.ok && (access == Access::Write ? cpu.probe_write(at.value, size_bytes) : cpu.probe_read(at.value, size_bytes));
    };
    const Linear first = x87_part(cpu, in, 0, sizeof(Word), access);
    if (first.ok && cpu.misaligned(first.value, sizeof(Word))) return {0, false};
    const unsigned last = count * sizeof(Word) - 1;
    return {first.value, reach(first, sizeof(Word)) && reach(x87_part(cpu, in, last, 1, access), 1)};
}

template <class Word>
Outcome store_image(Cpu& cpu, const Insn& in, bool registers) {
    Word words[most_words];
    make_environment(cpu, words);
    u8* bytes = reinterpret_cast<u8*>(words + environment_words);
    for (unsigned n = 0; registers && n < 8; ++n) std::memcpy(bytes + 10 * n, cpu.fx.st[(cpu.fx.top() + n) & 7], 10);
    const unsigned count = image_words<Word>(registers);
    const Linear at = reach_image<Word>(cpu, in, count, Access::Write);
    if (!at.ok) return Outcome::Stop;
    Outcome worst = Outcome::Next;
    for (unsigned n = 0; n < count; ++n) {
        const Outcome out = cpu.store<Word>(at.value + n * sizeof(Word), words[n]);
        if (out == Outcome::Stop) return out;
        if (out == Outcome::Leave) worst = out;
    }
    return worst;
}

template <class Word>
bool load_image(Cpu& cpu, const Insn& in, bool registers, Word* words) {
    const unsigned count = image_words<Word>(registers);
    const Linear at = reach_image<Word>(cpu, in, count, Access::Read);
    if (!at.ok) return false;
    for (unsigned n = 0; n < count; ++n) {
        const auto word = cpu.load<Word>(at.value + n * sizeof(Word));
        if (!word.ok) return false;
        words[n] = word.value;
    }
    return true;
}

template <class T>
using WordOf = std::conditional_t<sizeof(T) == 2, u16, u32>;

template <class, class T>
Outcome store_environment(Cpu& cpu, const Insn& in) {
    const Outcome out = store_image<WordOf<T>>(cpu, in, false);
    if (out != Outcome::Stop) set_control(cpu, cpu.fx.fcw | x87::exceptions);
    return out;
}

template <class, class T>
Outcome save_state(Cpu& cpu, const Insn& in) {
    const Outcome out = store_image<WordOf<T>>(cpu, in, true);
    if (out != Outcome::Stop) initialise_x87(cpu);
    return out;
}

template <class, class T>
Outcome load_environment(Cpu& cpu, const Insn& in) {
    if (x87_raises(cpu)) return cpu.raise(vector_mf);
    WordOf<T> words[most_words];
    if (!load_image(cpu, in, false, words)) return Outcome::Stop;
    take_environment(cpu, words);
    return Outcome::Next;
}

template <class, class T>
Outcome restore_state(Cpu& cpu, const Insn& in) {
    if (x87_raises(cpu)) return cpu.raise(vector_mf);
    WordOf<T> words[most_words];
    if (!load_image(cpu, in, true, words)) return Outcome::Stop;
    take_environment(cpu, words);
    const u8* bytes = reinterpret_cast<const u8*>(words + environment_words);
    for (unsigned n = 0; n < 8; ++n) std::memcpy(cpu.fx.st[(cpu.fx.top() + n) & 7], bytes + 10 * n, 10);
    return Outcome::Next;
}

}  // namespace

#include "ops_x87_control.inc"

}  // namespace silicon::x86
