// A vCPU's life, and what the outside does to it between runs.
#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/interrupt_unit.h"

namespace silicon::x86 {
namespace {

constexpr u32 real_data = ar::present | ar::s | ar::writable | ar::accessed;
constexpr u32 real_code = real_data | ar::code;
constexpr u32 present_ldt = ar::present | 2, busy_tss = ar::present | 11;

}  // namespace

CpuParts::CpuParts(GuestMemory& memory, Clock& clock, unsigned index, bool raw)
    : memory_(&memory), clock_(clock), index_(index), raw_(raw), tlbs_(new Tlb[static_cast<size_t>(TlbContext::Count)]) {}
CpuParts::~CpuParts() = default;

Cpu::Cpu(GuestMemory& memory, Clock& clock, unsigned index, bool raw) : CpuParts(memory, clock, index, raw) {
    reset_fresh();
    memory_->join(user_);
}

Cpu::~Cpu() { memory_->part(user_); }

// Into another guest-physical address space: what was decoded or translated in the old one means nothing there.
void Cpu::move_to(GuestMemory& memory) {
    if (&memory == memory_) return;
    memory_->part(user_);
    user_.stale.clear();  // nobody of the old space knows of it any more, nobody of the new one yet
    user_.seen.store(0, std::memory_order_seq_cst);
    memory_ = &memory;
    memory_->join(user_);
    blocks_.drop_all();
    flush_tlb();
}

void Cpu::reset_fresh() {
    std::fill(std::begin(gpr), std::end(gpr), 0);
    rip = 0;
    rflags = flag::always;
    for (Segment& s : seg) s = Segment{0, 0xffff, real_data, 0};
    at(Seg::Cs).rights = real_code;
    at(Seg::Ldtr).rights = present_ldt;
    at(Seg::Tr).rights = busy_tss;
    gdtr = idtr = TableRegister{};
    cr0 = cr0::et | cr0::ne;
    cr2 = cr3 = cr8 = efer = 0;
    std::fill(std::begin(pdptes), std::end(pdptes), 0);
    pdptes_stale_ = false;
    cr4 = raw_ ? cr4::vmxe : 0;  // what VMX keeps at 1 is shown as a processor shows it
    xcr0 = 1;
    interruptibility = activity = 0;
    init_blocked_ = false;
    for (unsigned n = 0; n < 6; ++n) dr[n] = 0;
    dr[6] = 0xffff0ff0;
    dr[7] = 0x400;
    fx = FxState{};
    extended.fill(0);
    plain_msrs.clear();
    reset_msrs();
    abandon();
    injected_ = fault_ = Event{};
    vmcs.entry_info = vmcs.entry_error = 0;
    state_changed();
}

// Intel SDM vol. 3, "Processor State After Reset": first instruction at FFFFFFF0.
void Cpu::reset_hardware() {
    reset_fresh();
    cr0 = 0x60000010;
    rip = 0xfff0;
    at(Seg::Cs).selector = 0xf000;
    at(Seg::Cs).base = 0xffff0000;
    gpr[rdx] = cpuid.lookup(1, 0).reg[0];
    state_changed();
}

void Cpu::state_changed() {
    lazy = LazyFlags::of_bits(rflags);
    flush_tlb();
    update_mode();
}

void Cpu::forget_translations() { flush_tlb(); }

void Cpu::abandon() {
    pieces_.clear();
    unanswered_ = posted_ = false;
    passed_.here = false;
}

// The answer becomes a piece of the instruction's log.
void Cpu::answer(u64 value) {
    Piece piece{Piece::Kind::Load, exit.size_bytes, false, exit.gpa, value};
    switch (exit.kind) {
        case ExitKind::PortIn: piece.kind = Piece::Kind::PortIn, piece.address = exit.port; break;
        case ExitKind::MsrRead: piece.kind = Piece::Kind::MsrRead, piece.address = exit.msr, piece.size_bytes = 8; break;
        case ExitKind::MsrWrite: piece.kind = Piece::Kind::MsrWrite, piece.address = exit.msr, piece.size_bytes = 8; break;
        default: break;
    }
    pieces_.push(piece);
    unanswered_ = false;
}

void Cpu::answer_bytes(const u8* bytes, size_t size) {
    pieces_.answer_bytes().assign(bytes, bytes + size);
    unanswered_ = false;
}

void Cpu::refuse() {
    const auto kind = exit.kind == ExitKind::MsrRead ? Piece::Kind::MsrRead : Piece::Kind::MsrWrite;
    pieces_.push({kind, 8, true, exit.msr, 0});
    unanswered_ = false;
}

RunStats Cpu::stats() const {
    RunStats s = stats_;
    s.blocks_decoded = blocks_.decoded;
    return s;
}

Outcome Cpu::stop_with(ExitKind kind, Reason reason, u64 qualification) {
    set_exit(kind, reason);
    exit.qualification = qualification;
    return Outcome::Stop;
}

Outcome Cpu::leave_with(ExitKind kind, Reason reason) {
    set_exit(kind, reason);
    return Outcome::Leave;
}

}  // namespace silicon::x86
