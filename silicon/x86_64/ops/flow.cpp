// Jumps, calls, returns, interrupts. Rows: spec/x86_64/flow.toml.
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

// A near target, cut to the operand's width. In 64-bit mode the displacement cannot leave the canonical range by much: the
// next fetch would fault, but the fault belongs to the branch, so it is checked there too.
template <class T>
SILICON_INLINE Outcome go(Cpu& cpu, u64 target) {
    if constexpr (sizeof(T) == 8) {
        if (!cpu.canonical(target)) [[unlikely]] return cpu.raise(vector_gp, 0);
        cpu.rip = target;
        return Outcome::Next;
    }
    return cpu.jump_checked(T(target));
}

template <class T>
SILICON_INLINE u64 relative(Cpu& cpu, const Insn& in) {
    return T(cpu.next_rip(in) + u64(in.imm));
}

template <Condition C, class Target, class T>
SILICON_INLINE Outcome jump_if(Cpu& cpu, const Insn& in) {
    return holds<C>(cpu.lazy) ? go<T>(cpu, relative<T>(cpu, in)) : Outcome::Next;
}

template <class Target, class T>
SILICON_INLINE Outcome jump_near(Cpu& cpu, const Insn& in) {
    return go<T>(cpu, relative<T>(cpu, in));
}

template <class Src>
SILICON_INLINE Outcome jump_operand(Cpu& cpu, const Insn& in) {
    const auto target = Src::load(cpu, in);
    if (!target.ok) return Outcome::Stop;
    return go<typename Src::type>(cpu, target.value);
}

// The target is checked before the return address is pushed, so that a bad one pushes nothing.
template <class T>
SILICON_INLINE Outcome call(Cpu& cpu, const Insn& in, u64 target) {
    const u64 back = cpu.next_rip(in);
    if (const Outcome out = go<T>(cpu, target); out != Outcome::Next) [[unlikely]] return out;
    if constexpr (sizeof(T) == 8) {
        const Outcome out = cpu.store<u64>(cpu.gpr[rsp] - 8, back);
        if (out == Outcome::Stop) [[unlikely]] return cpu.stack_fault();
        cpu.gpr[rsp] -= 8;
        return out;
    }
    return cpu.push(T(back), sizeof(T));
}

template <class Target, class T>
SILICON_INLINE Outcome call_near(Cpu& cpu, const Insn& in) {
    return call<T>(cpu, in, relative<T>(cpu, in));
}

template <class Src>
SILICON_INLINE Outcome call_operand(Cpu& cpu, const Insn& in) {
    const auto target = Src::load(cpu, in);
    if (!target.ok) return Outcome::Stop;
    return call<typename Src::type>(cpu, in, target.value);
}

template <class T>
SILICON_INLINE Outcome return_and_release(Cpu& cpu, u16 release) {
    if constexpr (sizeof(T) == 8) {
        const auto target = cpu.load<u64>(cpu.gpr[rsp]);
        if (!target.ok) [[unlikely]] return cpu.stack_fault();
        if (const Outcome out = go<T>(cpu, target.value); out != Outcome::Next) [[unlikely]] return out;
        cpu.gpr[rsp] += 8 + release;
        return Outcome::Next;
    }
    const auto target = cpu.stack_load(0, sizeof(T));
    if (!target.ok) return Outcome::Stop;
    if (const Outcome out = go<T>(cpu, target.value); out != Outcome::Next) return out;
    cpu.set_sp(cpu.gpr[rsp] + sizeof(T) + release);
    return Outcome::Next;
}

template <class T>
SILICON_INLINE Outcome return_near(Cpu& cpu, const Insn&) {
    return return_and_release<T>(cpu, 0);
}

template <class Count, class T>
SILICON_INLINE Outcome return_release(Cpu& cpu, const Insn& in) {
    return return_and_release<T>(cpu, u16(in.imm));
}

template <class Counter, class Target, class T>
SILICON_INLINE Outcome jump_if_zero(Cpu& cpu, const Insn& in) {
    return Counter(cpu.gpr[rcx]) == 0 ? go<T>(cpu, relative<T>(cpu, in)) : Outcome::Next;
}

enum class Until { Zero, NotEqual, Equal };

// The counter's width is the address size; 32 bits clear the upper half.
template <Until U, class Target, class T>
SILICON_INLINE Outcome loop(Cpu& cpu, const Insn& in) {
    const u64 mask = in.address_bytes == 8 ? ~u64{0} : in.address_bytes == 4 ? 0xffffffff : 0xffff;
    const u64 count = (cpu.gpr[rcx] - 1) & mask;
    const bool taken = count != 0 && (U == Until::Zero || cpu.lazy.zf() == (U == Until::NotEqual));
    if (taken)
        if (const Outcome out = go<T>(cpu, relative<T>(cpu, in)); out != Outcome::Next) return out;
    cpu.gpr[rcx] = in.address_bytes == 2 ? (cpu.gpr[rcx] & ~mask) | count : count;
    return Outcome::Next;
}

struct FarPointer {
    u16 selector;
    u64 offset;
    bool ok;
};

template <class T>
SILICON_INLINE FarPointer load_far_pointer(Cpu& cpu, const Insn& in) {
    const u64 start = cpu.offset_of(in);
    const Linear at = cpu.segment_linear(in.seg, start, sizeof(T), Access::Read);
    if (!at.ok) return {0, 0, false};
    const Linear behind = cpu.segment_linear(in.seg, start + sizeof(T), 2, Access::Read);
    if (!behind.ok) return {0, 0, false};
    const auto offset = cpu.load<T>(at.value);
    if (!offset.ok) return {0, 0, false};
    const auto selector = cpu.load<u16>(behind.value);
    return {selector.value, offset.value, selector.ok};
}

SILICON_INLINE Outcome changed_code(Cpu& cpu, Outcome out) {
    if (out != Outcome::Stop) cpu.request_event();
    return out;
}

template <class Pointer, class T>
SILICON_INLINE Outcome jump_far_direct(Cpu& cpu, const Insn& in) {
    return changed_code(cpu, cpu.far_jump(u16(in.disp), T(in.imm), sizeof(T)));
}
template <class Memory, class T>
SILICON_INLINE Outcome jump_far(Cpu& cpu, const Insn& in) {
    const FarPointer to = load_far_pointer<T>(cpu, in);
    return to.ok ? changed_code(cpu, cpu.far_jump(to.selector, to.offset, sizeof(T))) : Outcome::Stop;
}
template <class Pointer, class T>
SILICON_INLINE Outcome call_far_direct(Cpu& cpu, const Insn& in) {
    return changed_code(cpu, cpu.far_call(u16(in.disp), T(in.imm), sizeof(T), in));
}
template <class Memory, class T>
SILICON_INLINE Outcome call_far(Cpu& cpu, const Insn& in) {
    const FarPointer to = load_far_pointer<T>(cpu, in);
    return to.ok ? changed_code(cpu, cpu.far_call(to.selector, to.offset, sizeof(T), in)) : Outcome::Stop;
}

template <class Far, class T>
SILICON_INLINE Outcome return_far(Cpu& cpu, const Insn&) {
    return changed_code(cpu, cpu.far_return(sizeof(T), 0));
}
template <class Count, class Far, class T>
SILICON_INLINE Outcome return_far_release(Cpu& cpu, const Insn& in) {
    return changed_code(cpu, cpu.far_return(sizeof(T), u16(in.imm)));
}

// INT n in virtual-8086 mode needs IOPL 3.
template <class Immediate>
SILICON_INLINE Outcome interrupt(Cpu& cpu, const Insn& in) {
    if (cpu.mode & mode::virtual8086 && (cpu.rflags & flag::iopl) != flag::iopl) return cpu.raise(vector_gp, 0);
    return cpu.software_event(u8(in.imm), EventType::Software, in);
}
SILICON_INLINE Outcome breakpoint(Cpu& cpu, const Insn& in) { return cpu.software_event(vector_bp, EventType::SoftwareException, in); }
SILICON_INLINE Outcome interrupt_one(Cpu& cpu, const Insn& in) {
    return cpu.software_event(vector_db, EventType::PrivilegedSoftware, in);
}
SILICON_INLINE Outcome interrupt_overflow(Cpu& cpu, const Insn& in) {
    return cpu.lazy.of() ? cpu.software_event(vector_of, EventType::SoftwareException, in) : Outcome::Next;
}

template <class T>
SILICON_INLINE Outcome return_from_interrupt(Cpu& cpu, const Insn&) {
    return cpu.interrupt_return(sizeof(T));
}

template <class Index, class Bounds>
SILICON_INLINE Outcome bound(Cpu& cpu, const Insn& in) {
    using T = typename Index::type;
    using Signed = std::make_signed_t<T>;
    const u64 start = cpu.offset_of(in);
    const Linear at = cpu.segment_linear(in.seg, start, sizeof(T), Access::Read);
    if (!at.ok) return Outcome::Stop;
    const auto low = cpu.load<T>(at.value);
    if (!low.ok) return Outcome::Stop;
    const u64 wrapped = in.address_bytes == 2 ? u16(start + sizeof(T)) : u32(start + sizeof(T));  // not in 64-bit mode
    const Linear behind = cpu.segment_linear(in.seg, wrapped, sizeof(T), Access::Read);
    if (!behind.ok) return Outcome::Stop;
    const auto high = cpu.load<T>(behind.value);
    if (!high.ok) return Outcome::Stop;
    const auto index = Signed(Index::load(cpu, in).value);
    return index < Signed(low.value) || index > Signed(high.value) ? cpu.raise(vector_br) : Outcome::Next;
}

template <class A, class B>
SILICON_INLINE Outcome undefined(Cpu& cpu, const Insn&) {
    return cpu.raise(vector_ud);
}
SILICON_INLINE Outcome undefined_plain(Cpu& cpu, const Insn&) { return cpu.raise(vector_ud); }

SILICON_INLINE void no_operation(Cpu&, const Insn&) {}
template <class... Operands>
SILICON_INLINE void no_operation_of(Cpu&, const Insn&) {}

SILICON_INLINE Outcome pause(Cpu& cpu, const Insn&) {
    return cpu.control(proc::pause) ? cpu.stop_with(ExitKind::Unnamed, Reason::Pause) : Outcome::Next;
}

}  // namespace

#include "ops_flow.inc"

}  // namespace silicon::x86
