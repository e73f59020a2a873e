// Hardware task switches. Intel SDM vol. 3, "Task Management": "Task Switching", "Task-State Segment (TSS)",
// "16-Bit Task-State Segment (TSS)", table "Exception Conditions Checked During a Task Switch".
#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/descriptors.h"

namespace silicon::x86 {

// A task-state segment that is switched to: its descriptor, where that lies, and what is named in its selector.
struct TaskSegment {
    u16 selector = 0;
    Descriptor d;
    u64 place = 0;

    bool wide() const { return d.type() & 8; }
    u32 error() const { return selector & 0xfffcu; }
};

// What a task starts with.
struct TaskState {
    u32 cr3 = 0, eip = 0, eflags = 0;
    u32 gpr[8] = {};
    u16 seg[6] = {};  // in the order of Seg
    u16 ldt = 0;
    bool trap = false;
};

namespace {

// Where things lie in a task-state segment, in bytes.
struct Layout {
    u32 last;  // the smallest limit
    u32 eip, eflags, gpr, seg, ldt;
    unsigned register_bytes, segment_step, segments;
};
constexpr Layout layout32{0x67, 32, 36, 40, 72, 96, 4, 4, 6};
constexpr Layout layout16{0x2b, 14, 16, 18, 34, 42, 2, 2, 4};
constexpr u32 cr3_at = 28, trap_at = 100;
constexpr u64 local_breakpoints = 0x155;  // L0 to L3 and LE of DR7
constexpr u64 dr6_task = 1 << 15;         // BT

const Layout& layout_of(bool wide) { return wide ? layout32 : layout16; }
bool is_wide(const Segment& tr) { return tr.rights & 8; }

}  // namespace

// A task that a gate names: one of the GDT that does not run.
bool Cpu::free_task(u16 selector, TaskSegment& task) {
    task.selector = selector;
    if (selector & 4 || !(selector & 0xfffc)) {
        raise(vector_gp, selector & 0xfffc);
        return false;
    }
    if (!read_descriptor(selector, vector_gp, task.d, task.place)) return false;
    const bool fits = task.d.is_system() && (task.d.type() == sys::tss16 || task.d.type() == sys::tss32);
    if (fits && task.d.present()) return true;
    raise(fits ? vector_np : vector_gp, task.error());
    return false;
}

// A far jump or call to a task-state segment or a task gate.
Outcome Cpu::transfer_task(u16 selector, const Descriptor& d, TaskBy by) {
    if (!gate_open(selector, d)) return Outcome::Stop;
    TaskSegment task;
    const u16 named = d.type() == sys::task_gate ? Gate{d.bits, 0}.selector() : selector;
    if (!free_task(named, task)) return Outcome::Stop;
    return after_switch(switch_task(task, by, rip, all_rflags()));  // `rip` is behind the instruction already
}

// What a switch by an instruction comes to: a fault of the new task is delivered once the instruction is done.
Outcome Cpu::after_switch(Switched switched) {
    if (switched == Switched::Refused) return Outcome::Stop;
    if (switched == Switched::Faulted) {
        late_ = fault_;
        fault_.pending = false;
    }
    return late_.pending ? Outcome::Leave : Outcome::Next;
}

// IRET with NT: back to the task that the present one is linked to.
Outcome Cpu::return_from_task() {
    const auto link = system_load<u16>(at(Seg::Tr).base);
    if (!link.ok) return Outcome::Stop;
    TaskSegment task;
    task.selector = link.value;
    if (link.value & 4 || !(link.value & 0xfffc)) return raise(vector_ts, task.error());
    if (!read_descriptor(link.value, vector_ts, task.d, task.place)) return Outcome::Stop;
    const unsigned type = task.d.type();
    const bool fits = task.d.is_system() && (type == (sys::tss16 | sys::busy) || type == (sys::tss32 | sys::busy));
    if (!fits) return raise(vector_ts, task.error());
    if (!task.d.present()) return raise(vector_np, task.error());
    return after_switch(switch_task(task, TaskBy::Return, rip, all_rflags() & ~flag::nt));
}

// Whether everything that the switch writes can be written: nothing of it may fault half-way.
bool Cpu::task_writable(const TaskSegment& task, TaskBy by) {
    const Segment& tr = at(Seg::Tr);
    const Layout& old = layout_of(is_wide(tr));
    if (tr.rights & ar::unusable || tr.limit < old.last) {
        raise(vector_ts, tr.selector & 0xfffcu);
        return false;
    }
    if (!system_reach(tr.base + old.eip, old.ldt - old.eip, Access::Write)) return false;
    const bool links = by == TaskBy::Call || by == TaskBy::Event;
    if (links && !system_reach(task.d.base(), 2, Access::Write)) return false;
    if (!links && !system_reach(gdtr.base + (tr.selector & 0xfff8u) + 5, 1, Access::Write)) return false;
    return by == TaskBy::Return || system_reach(task.place + 5, 1, Access::Write);
}

bool Cpu::read_task_state(const TaskSegment& task, TaskState& state) {
    const Layout& from = layout_of(task.wide());
    const u64 base = task.d.base();
    bool ok = true;
    const auto field = [&](u32 offset, unsigned size_bytes) {
        const Slow v = ok ? system_access(base + offset, size_bytes, false, 0) : Slow{0, Outcome::Stop};
        ok = v.outcome == Outcome::Next;
        return u32(v.value);
    };
    state.eip = field(from.eip, from.register_bytes);
    state.eflags = field(from.eflags, from.register_bytes);
    for (unsigned n = 0; n < 8; ++n) state.gpr[n] = field(from.gpr + n * from.register_bytes, from.register_bytes);
    for (unsigned n = 0; n < from.segments; ++n) state.seg[n] = u16(field(from.seg + n * from.segment_step, 2));
    state.ldt = u16(field(from.ldt, 2));
    if (task.wide()) {
        state.cr3 = field(cr3_at, 4);
        state.trap = field(trap_at, 2) & 1;
    }
    return ok;
}

void Cpu::save_task(u64 back, u64 flags) {
    const Segment& tr = at(Seg::Tr);
    const Layout& to = layout_of(is_wide(tr));
    const auto put = [&](u32 offset, unsigned size_bytes, u64 value) { system_access(tr.base + offset, size_bytes, true, value); };
    put(to.eip, to.register_bytes, back);
    put(to.eflags, to.register_bytes, flags);
    for (unsigned n = 0; n < 8; ++n) put(to.gpr + n * to.register_bytes, to.register_bytes, gpr[n]);
    for (unsigned n = 0; n < to.segments; ++n) put(to.seg + n * to.segment_step, 2, seg[n].selector);
}

// The old task is put away, the new one is marked busy and linked: from here on the switch has happened.
void Cpu::swap_tasks(const TaskSegment& task, TaskBy by, u64 back, u64 flags) {
    Segment& tr = at(Seg::Tr);
    const bool links = by == TaskBy::Call || by == TaskBy::Event;
    if (!links) {
        const u64 place = gdtr.base + (tr.selector & 0xfff8u) + 5;
        system_store<u8>(place, u8(system_load<u8>(place).value & ~sys::busy));
    }
    save_task(back, flags);
    if (links) system_store<u16>(task.d.base(), tr.selector);
    if (by != TaskBy::Return) system_store<u8>(task.place + 5, u8(task.d.bits >> 40 | sys::busy));
    tr = task.d.segment(task.selector);
    tr.rights |= sys::busy;
    cr0 |= cr0::ts;
    dr[7] &= ~local_breakpoints;
}

// From the present task to another. Refused: nothing has happened, a fault of the old task or an exit.
Cpu::Switched Cpu::switch_task(const TaskSegment& task, TaskBy by, u64 back, u64 flags) {
    if (task.d.limit() < layout_of(task.wide()).last) return raise(vector_ts, task.error()), Switched::Refused;
    if (raw_) {  // Intel SDM vol. 3, "Exit Qualification for Task Switches"
        stop_with(ExitKind::Unnamed, Reason::TaskSwitch, task.selector | u64(by) << 30);
        return Switched::Refused;
    }
    TaskState state;
    if (!read_task_state(task, state) || !task_writable(task, by)) return Switched::Refused;
    swap_tasks(task, by, back, flags);
    if (by == TaskBy::Call || by == TaskBy::Event) state.eflags |= flag::nt;
    if (!load_task(state)) return Switched::Faulted;
    if (state.trap) {
        late_ = Event{};
        late_.pending = true;
        late_.vector = vector_db;
        late_.debug = dr6_task;
    }
    return Switched::Done;
}

// Registers first, then what the selectors name: a fault of that belongs to the new task.
bool Cpu::load_task(const TaskState& state) {
    for (unsigned n = 0; n < 8; ++n) gpr[n] = state.gpr[n];
    rip = state.eip;
    const bool virtual8086 = state.eflags & flag::vm;
    const unsigned new_cpl = virtual8086 ? 3 : state.seg[static_cast<unsigned>(Seg::Cs)] & 3;
    for (unsigned n = 0; n < 6; ++n) seg[n] = Segment{0, 0, ar::unusable | new_cpl << ar::dpl_shift, state.seg[n]};
    if (is_wide(at(Seg::Tr))) at(Seg::Cs).rights |= ar::db;  // until it is loaded, EIP is whole
    at(Seg::Ldtr) = Segment{0, 0, ar::unusable, state.ldt};
    set_rflags(state.eflags, flag::all);
    update_mode_if_needed();
    blocks_.forget_jumps();
    request_event();
    const bool paging = cr0 & cr0::pg && is_wide(at(Seg::Tr));
    if (paging && set_cr3(state.cr3) == Outcome::Stop) return false;
    if (!load_task_ldt(state.ldt)) return false;
    if (virtual8086) {
        for (unsigned n = 0; n < 6; ++n) set_virtual8086(static_cast<Seg>(n), state.seg[n]);
        update_mode_if_needed();
        return true;
    }
    const auto selector = [&](Seg which) { return state.seg[static_cast<unsigned>(which)]; };
    if (!load_task_code(selector(Seg::Cs)) || !load_task_stack(selector(Seg::Ss))) return false;
    for (const Seg which : {Seg::Ds, Seg::Es, Seg::Fs, Seg::Gs})
        if (!load_task_data(which, selector(which))) return false;
    update_mode_if_needed();
    return true;
}

bool Cpu::load_task_ldt(u16 selector) {
    if (!(selector & 0xfffc)) return true;
    Descriptor d;
    u64 place = 0;
    if (selector & 4) return raise(vector_ts, selector & 0xfffc), false;
    if (!read_descriptor(selector, vector_ts, d, place)) return false;
    if (!d.is_system() || d.type() != sys::ldt || !d.present()) return raise(vector_ts, selector & 0xfffc), false;
    at(Seg::Ldtr) = d.segment(selector);
    return true;
}

bool Cpu::load_task_code(u16 selector) {
    Descriptor d;
    u64 place = 0;
    if (!(selector & 0xfffc)) return raise(vector_ts, 0), false;
    if (!read_descriptor(selector, vector_ts, d, place)) return false;
    const unsigned rpl = selector & 3;
    const bool fits = d.is_code() && (d.is_conforming() ? d.dpl() <= rpl : d.dpl() == rpl);
    if (!fits || !d.present()) return raise(fits ? vector_np : vector_ts, selector & 0xfffc), false;
    if (!mark_accessed(d, place)) return false;
    at(Seg::Cs) = d.segment(selector);
    update_mode_if_needed();
    return true;
}

bool Cpu::load_task_stack(u16 selector) {
    Descriptor d;
    u64 place = 0;
    if (!(selector & 0xfffc)) return raise(vector_ts, 0), false;
    if (!read_descriptor(selector, vector_ts, d, place)) return false;
    const bool fits = d.is_writable_data() && d.dpl() == cpl && (selector & 3u) == cpl;
    if (!fits || !d.present()) return raise(fits ? vector_ss : vector_ts, selector & 0xfffc), false;
    if (!mark_accessed(d, place)) return false;
    at(Seg::Ss) = d.segment(selector);
    update_mode_if_needed();
    return true;
}

bool Cpu::load_task_data(Seg which, u16 selector) {
    if (!(selector & 0xfffc)) return true;  // null, as it is already
    Descriptor d;
    u64 place = 0;
    if (!read_descriptor(selector, vector_ts, d, place)) return false;
    const bool fits = d.is_readable() && (d.is_conforming() || (d.dpl() >= cpl && d.dpl() >= (selector & 3u)));
    if (!fits || !d.present()) return raise(fits ? vector_np : vector_ts, selector & 0xfffc), false;
    if (!mark_accessed(d, place)) return false;
    at(which) = d.segment(selector);
    return true;
}

// An event through a task gate of the IDT. Its error code goes to the new task's stack.
bool Cpu::deliver_task(const Event& event, const Gate& gate) {
    TaskSegment task;
    if (!free_task(gate.selector(), task)) return false;
    if (switch_task(task, TaskBy::Event, return_rip(event), pushed_flags(event)) != Switched::Done) return false;
    if (!pushes_error(event)) return true;
    FrameStack stack{at(Seg::Ss), gpr[rsp], cpl};
    const unsigned size_bytes = task.wide() ? 4 : 2;
    if (!room_on(stack, 1, size_bytes) || !push_on(stack, event.error, size_bytes)) return false;
    set_sp(stack.sp);
    return true;
}

}  // namespace silicon::x86
