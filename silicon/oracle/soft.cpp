#include "silicon/oracle/soft.h"

#include <cstring>

namespace silicon::oracle {

using namespace x86;

Soft::Soft(u8* code) {
    guest_.map(0, space_.memory(), own_bytes, perm_all);
    guest_.map(code_at, code, code_bytes, perm_all);
    cpu_ = std::make_unique<Cpu>(guest_, clock_, 0, false);
    cpu_->vmcs.exception_bitmap = ~u32{0};
}

void Soft::prepare(const Job& job) {
    space_.patch(job);
    Cpu& cpu = *cpu_;
    std::memcpy(cpu.gpr, job.before.gpr, sizeof job.before.gpr);
    cpu.rip = job.before.rip - code_base(job.bits);
    cpu.rflags = job.before.rflags;
    cpu.set_fx_image(job.before.fx);
    cpu.cr0 = user_cr0;
    cpu.cr3 = tables_gpa;
    cpu.cr4 = user_cr4;
    cpu.xcr0 = xcr0_known;
    cpu.efer = user_efer;
    cpu.cr2 = 0;
    cpu.idtr = {idt_at, idt_limit};  // all gates absent: INT n is #GP
    cpu.gdtr = {gdt_at, gdt_limit};
    cpu.cpl = 3;
    cpu.interruptibility = 0;
    cpu.activity = 0;
    cpu.seg = segments_of(job.bits);
    cpu.state_changed();
    cpu.abandon();
}

void Soft::read_ending(const Job& job, const ExitRecord& exit, Result& result) {
    const u64 end = end_for(job.bits);
    switch (exit.kind) {
        case ExitKind::Exception:
            result.ending = exit.interruption_info & 0xff;
            result.error = exit.interruption_info >> 11 & 1 ? exit.interruption_error : 0;
            if (result.ending == vector_pf) result.address = exit.qualification;
            if (result.ending == vector_ud && cpu_->rip == end) result.ending = ended;
            break;
        case ExitKind::BudgetSpent: result.ending = timed_out; break;
        default:
            result.ending = unexpected;
            result.error = static_cast<u32>(exit.kind);
            break;
    }
}

u64 Soft::linear_rip() const { return cpu_->rip + cpu_->at(Seg::Cs).base; }

bool Soft::strays(const Job& job, const std::function<bool(u64)>& is_own) {
    prepare(job);
    bool outside = false;
    for (u64 n = 0; n < budget && !outside; ++n) {
        if (cpu_->run({.budget = 1}).kind != ExitKind::BudgetSpent) break;
        const u64 at = linear_rip();
        outside = at != end_for(job.bits) && !is_own(at);
    }
    space_.restore();
    return outside;
}

void Soft::run(const Job& job, Result& result) {
    prepare(job);
    result.error = 0;
    result.address = 0;
    const ExitRecord& exit = cpu_->run({.budget = budget});
    read_ending(job, exit, result);
    std::memcpy(result.after.gpr, cpu_->gpr, sizeof result.after.gpr);
    result.after.rip = linear_rip();
    result.after.rflags = cpu_->rflags;
    result.after.fx = cpu_->fx_image();
    space_.collect(job, result);
}

}  // namespace silicon::oracle
