// Stacks of inner levels, and call gates. Intel SDM vol. 3, "Stack Switching", "Accessing a Code Segment Through a Call Gate";
// vol. 2, "CALL—Call Procedure", "JMP—Jump".
#include <algorithm>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/descriptors.h"

namespace silicon::x86 {

// SS:SP of a level from the task-state segment, 16 or 32 bits wide. Intel SDM vol. 3, "Stack Switching".
bool Cpu::inner_stack(unsigned new_cpl, FrameStack& stack) {
    const Segment& tr = at(Seg::Tr);
    const bool wide = tr.rights & 8;
    const u32 offset = wide ? 4 + 8 * new_cpl : 2 + 4 * new_cpl;
    if (offset + (wide ? 5u : 3u) > tr.limit) {
        raise(vector_ts, tr.selector & 0xfffcu);
        return false;
    }
    const auto sp = wide ? system_load<u32>(tr.base + offset) : Loaded<u32>{0, true};
    const auto narrow = wide ? Loaded<u16>{0, true} : system_load<u16>(tr.base + offset);
    if (!sp.ok || !narrow.ok) return false;
    const auto loaded = system_load<u16>(tr.base + offset + (wide ? 4 : 2));
    if (!loaded.ok) return false;
    const u16 selector = loaded.value, error = selector & 0xfffc;
    if (!error) {
        raise(vector_ts, 0);
        return false;
    }
    Descriptor d;
    u64 place = 0;
    if (!read_descriptor(selector, vector_ts, d, place)) return false;
    const bool fits = (selector & 3u) == new_cpl && d.dpl() == new_cpl && d.is_writable_data();
    if (!fits || !d.present()) {
        raise(fits ? vector_ss : vector_ts, error);
        return false;
    }
    if (!mark_accessed(d, place)) return false;
    stack = {d.segment(selector), sp.value | narrow.value, new_cpl, true};
    return true;
}

// RSP from a place in the 64-bit task-state segment. Intel SDM vol. 3, "Stack Switching in IA-32e Mode".
bool Cpu::inner_stack_long(u32 tss_offset, u64& sp) {
    const Segment& tr = at(Seg::Tr);
    if (tss_offset + 7 > tr.limit) {
        raise(vector_ts, tr.selector & 0xfffcu);
        return false;
    }
    const auto loaded = system_load<u64>(tr.base + tss_offset);
    sp = loaded.value;
    return loaded.ok;
}

bool Cpu::room_on(const FrameStack& stack, unsigned items, unsigned size_bytes) {
    for (unsigned n = 1; n <= items; ++n) {
        if (covers(stack.ss, stack.below(n * size_bytes), size_bytes)) continue;
        raise(vector_ss, stack.error());
        return false;
    }
    return true;
}

// What is pushed for an event or a gate is an explicit access of the level that it leads to, so EFLAGS.AC opens user pages to
// it under SMAP; implicit are those to the descriptor tables and the task-state segment.
// Intel SDM vol. 3, "Determination of Access Rights".
bool Cpu::push_at(u64 at, u64 value, unsigned size_bytes, unsigned as_cpl) {
    const Privilege as = as_cpl == 3 ? Privilege::User : Privilege::Supervisor;
    return system_access(at, size_bytes, true, value, as).outcome == Outcome::Next;
}

// An access of the processor itself: a stack that lies at a device is an exit of its own, nothing of it is posted.
bool Cpu::push_on(FrameStack& stack, u64 value, unsigned size_bytes) {
    const u64 to = stack.below(size_bytes);
    if (!push_at(u32(stack.ss.base + to), value, size_bytes, stack.cpl)) return false;
    stack.sp = (stack.sp & ~stack.mask()) | to;
    return true;
}

// The privilege and presence of a gate or task that a far jump or call names.
bool Cpu::gate_open(u16 selector, const Descriptor& d) {
    const bool allowed = d.dpl() >= cpl && d.dpl() >= (selector & 3u);
    if (allowed && d.present()) return true;
    raise(allowed ? vector_np : vector_gp, selector & 0xfffc);
    return false;
}

// Where a call gate leads, and whether it may be passed. In long mode it has 16 bytes and leads to 64-bit code.
bool Cpu::call_gate(u16 selector, const Descriptor& d, u64 place, CallTarget& to) {
    if (!gate_open(selector, d)) return false;
    const bool long_mode = efer & efer::lma;
    Gate gate{d.bits, 0};
    if (long_mode) {
        const u32 limit = selector & 4 ? at(Seg::Ldtr).limit : gdtr.limit;
        if ((selector & 0xfff8u) + 15 > limit) {
            raise(vector_gp, selector & 0xfffc);
            return false;
        }
        const auto high = system_load<u64>(place + 8);
        if (!high.ok) return false;
        gate.high = high.value & 0xffffffff;
        if (high.value >> 40 & 0x1f) {  // the type above must be 0: nobody can take it for a descriptor
            raise(vector_gp, selector & 0xfffc);
            return false;
        }
    }
    Descriptor code;
    u64 code_place = 0;
    if (!target_descriptor(gate.selector(), code, code_place)) return false;
    const bool sized = !long_mode || (code.rights() & (ar::l | ar::db)) == ar::l;
    const bool fits = code.is_code() && code.dpl() <= cpl && sized;
    if (!fits || !code.present()) {
        raise(fits ? vector_np : vector_gp, gate.selector() & 0xfffc);
        return false;
    }
    if (!mark_accessed(code, code_place)) return false;
    to.cs = code.segment(gate.selector());
    to.cpl = code.is_conforming() ? cpl : code.dpl();
    to.size_bytes = long_mode ? 8 : gate.is_wide() ? 4 : 2;
    to.offset = gate.offset(long_mode) & (to.size_bytes == 2 ? 0xffff : ~u64{0});
    to.parameters = long_mode ? 0 : d.bits >> 32 & 31;
    return true;
}

static bool is_call_gate(const Cpu& cpu, const Descriptor& d) {
    return d.type() == sys::call32 || (d.type() == sys::call16 && !(cpu.efer & efer::lma));
}

static bool is_task(const Cpu& cpu, const Descriptor& d) {
    const bool known = d.type() == sys::tss16 || d.type() == sys::tss32 || d.type() == sys::task_gate;
    return known && !(cpu.efer & efer::lma);
}

// JMP to a system descriptor: through a gate at the same level, or to a task.
Outcome Cpu::jump_system(u16 selector, const Descriptor& d, u64 place) {
    if (is_task(*this, d)) return transfer_task(selector, d, TaskBy::Jump);
    if (!is_call_gate(*this, d)) return raise(vector_gp, selector & 0xfffc);
    CallTarget to;
    if (!call_gate(selector, d, place, to)) return Outcome::Stop;
    if (to.cpl != cpl) return raise(vector_gp, to.cs.selector & 0xfffcu);
    return fits_code(to.offset, to.cs) ? enter_code(to.cs, cpl, to.offset) : Outcome::Stop;
}

// CALL to a system descriptor: through a gate at the same level or to an inner one, or to a task.
Outcome Cpu::call_system(u16 selector, const Descriptor& d, u64 place, u64 back) {
    if (is_task(*this, d)) return transfer_task(selector, d, TaskBy::Call);
    if (!is_call_gate(*this, d)) return raise(vector_gp, selector & 0xfffc);
    CallTarget to;
    if (!call_gate(selector, d, place, to)) return Outcome::Stop;
    const bool long_mode = efer & efer::lma;
    if (to.cpl != cpl) return long_mode ? call_inner_long(to, back) : call_inner(to, back);
    if (!fits_code(to.offset, to.cs)) return Outcome::Stop;
    return long_mode ? call_same_long(to, back) : push_and_enter(to.cs, to.offset, to.size_bytes, back);
}

// To an inner level: SS, SP, the parameters, CS and the return address on its stack.
Outcome Cpu::call_inner(const CallTarget& to, u64 back) {
    FrameStack stack;
    if (!inner_stack(to.cpl, stack)) return Outcome::Stop;
    u64 frame[2 + 31 + 2];
    unsigned count = 0;
    frame[count++] = at(Seg::Ss).selector;
    frame[count++] = gpr[rsp];
    for (unsigned n = to.parameters; n-- > 0;) {
        const auto v = stack_load(n * to.size_bytes, to.size_bytes);
        if (!v.ok) return Outcome::Stop;
        frame[count++] = v.value;
    }
    frame[count++] = at(Seg::Cs).selector;
    frame[count++] = back;
    if (!room_on(stack, count, to.size_bytes) || !fits_code(to.offset, to.cs)) return Outcome::Stop;
    for (unsigned n = 0; n < count; ++n)
        if (!push_on(stack, frame[n], to.size_bytes)) return Outcome::Stop;
    at(Seg::Ss) = stack.ss;
    enter_code(to.cs, to.cpl, to.offset);
    set_sp(stack.sp);
    return Outcome::Next;
}

Outcome Cpu::call_inner_long(const CallTarget& to, u64 back) {
    u64 sp = 0;
    if (!inner_stack_long(4 + 8 * to.cpl, sp)) return Outcome::Stop;
    if (!canonical(sp)) return raise(vector_ss, 0);
    if (!fits_code(to.offset, to.cs)) return Outcome::Stop;
    for (const u64 value : {u64{at(Seg::Ss).selector}, gpr[rsp], u64{at(Seg::Cs).selector}, back})
        if (!push_at(sp -= 8, value, 8, to.cpl)) return Outcome::Stop;
    at(Seg::Ss) = Segment{0, 0, ar::unusable | to.cpl << ar::dpl_shift, u16(to.cpl)};
    enter_code(to.cs, to.cpl, to.offset);
    gpr[rsp] = sp;
    return Outcome::Next;
}

// To conforming code or the same level: it may come from compatibility mode, so the frame does not go by SS.
Outcome Cpu::call_same_long(const CallTarget& to, u64 back) {
    const Outcome first = store<u64>(gpr[rsp] - 8, at(Seg::Cs).selector);
    if (first == Outcome::Stop) return stack_fault();
    const Outcome second = store<u64>(gpr[rsp] - 16, back);
    if (second == Outcome::Stop) return stack_fault();
    enter_code(to.cs, cpl, to.offset);
    gpr[rsp] -= 16;
    return std::max(first, second);
}

}  // namespace silicon::x86
