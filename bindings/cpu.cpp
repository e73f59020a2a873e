// One vCPU for Python.
#include "silicon/x86_64/cpu.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <optional>
#include <tuple>

#include "bindings/vcpu.h"

namespace binding {

void require_open(const VcpuObject& vcpu) {
    if (vcpu.closed.load(std::memory_order_seq_cst)) raise_error("Closed", vcpu.why_closed);
}

silicon::x86::Cpu& idle(VcpuObject& vcpu) {
    require_open(vcpu);
    if (vcpu.running.load(std::memory_order_relaxed))
        raise_error("Busy", "the vCPU is running in another thread; only kick() may be called now");
    return vcpu.cpu;
}

namespace {

using namespace silicon;
using namespace silicon::x86;

constexpr u64 slice_ns = 20'000'000;  // how long a run on the main thread may keep Ctrl-C waiting

using CpuidRow = std::tuple<u32, u32, u32, u32, u32, u32>;

// While it lives the vCPU is this thread's.
class Use {
  public:
    explicit Use(VcpuObject& vcpu) : vcpu_(vcpu) {
        require_open(vcpu);
        if (vcpu_.running.exchange(true, std::memory_order_seq_cst))
            raise_error("Busy", "the vCPU is running in another thread; kick() it, or wait for its run() to return");
        if (!vcpu_.closed.load(std::memory_order_seq_cst)) return;
        vcpu_.running.store(false, std::memory_order_release);  // closed in between
        require_open(vcpu);
    }
    ~Use() { vcpu_.running.store(false, std::memory_order_release); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

  private:
    VcpuObject& vcpu_;
};

void require_answered(const Cpu& cpu) {
    if (cpu.unanswered())
        raise_error("BadArgument", "the last exit waits for an answer: call answer(value) (or refuse() for an MSR) before running on");
}

bool on_main_thread() {
    thread_local const bool main = getpid() == gettid();
    return main;
}

// Runs in slices where a signal may have to be looked at between two of them.
const ExitRecord& run_in_slices(Cpu& cpu, RunLimits limits) {
    for (;;) {
        const u64 before = cpu.instructions();
        if (on_main_thread()) limits.host_slice_ns = slice_ns;
        {
            const nb::gil_scoped_release release;
            cpu.run(limits);
        }
        if (cpu.exit.kind != ExitKind::None) return cpu.exit;
        if (limits.budget != ~u64{0}) limits.budget -= std::min(limits.budget, cpu.instructions() - before);
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
}

// A limit of run(): None is none; what is not an unsigned 64-bit number is refused by its name.
u64 limit(nb::handle value, const char* name) {
    if (value.is_none()) return ~u64{0};
    const nb::object index = nb::steal(PyNumber_Index(value.ptr()));
    if (!index.is_valid()) throw nb::python_error();
    const u64 number = PyLong_AsUnsignedLongLong(index.ptr());
    if (PyErr_Occurred()) {
        PyErr_Clear();
        raise_error("BadArgument", std::string(name) + " takes 0 to 2**64 - 1, or None for no limit, not " + nb::str(index).c_str());
    }
    return number;
}

nb::object run(VcpuObject& vcpu, nb::handle deadline_ns, nb::handle budget) {
    const Use use(vcpu);
    require_answered(vcpu.cpu);
    RunLimits limits;
    limits.deadline_ns = limit(deadline_ns, "deadline_ns");
    limits.budget = limit(budget, "budget");
    return nb::steal(exit_object(run_in_slices(vcpu.cpu, limits)));
}

nb::object step(VcpuObject& vcpu) {
    const Use use(vcpu);
    require_answered(vcpu.cpu);
    RunLimits limits;
    limits.one = true;
    return nb::steal(exit_object(run_in_slices(vcpu.cpu, limits)));
}

// Apple's manner: the exit reason; what else there is stands in the VMCS.
u32 run_raw(VcpuObject& vcpu, std::optional<u64> deadline_ns) {
    const Use use(vcpu);
    if (const char* problem = vcpu.cpu.entry_problem()) {
        vcpu.cpu.vmcs.instruction_error = 7;  // VM entry with invalid control fields
        raise_error("HvError", problem);
    }
    vcpu.cpu.vmcs.instruction_error = 0;
    RunLimits limits;
    if (deadline_ns) limits.deadline_ns = *deadline_ns;
    return static_cast<u32>(run_in_slices(vcpu.cpu, limits).reason);
}

void kick(VcpuObject& vcpu) {
    require_open(vcpu);
    vcpu.cpu.kick();
}

void send_init(VcpuObject& vcpu) {
    require_open(vcpu);
    vcpu.cpu.send_init();
}

void send_start_up(VcpuObject& vcpu, u8 vector) {
    require_open(vcpu);
    vcpu.cpu.send_start_up(vector);
}

// Every later use raises Closed, and a run in another thread is kicked. After fork() it is not: the thread is not there.
void close(VcpuObject& vcpu, const std::string& why, bool kick) {
    if (vcpu.closed.load(std::memory_order_relaxed)) return;
    vcpu.why_closed = why;
    vcpu.closed.store(true, std::memory_order_seq_cst);
    if (!kick) return;
    vcpu.cpu.kick();
    if (vcpu.cpu.unit()) vcpu.cpu.unit()->hub.part(vcpu.cpu.unit()->local);  // another one may get its index
}

nb::object finish(VcpuObject& vcpu) {
    const Use use(vcpu);
    require_answered(vcpu.cpu);
    bool done = false;
    {
        const nb::gil_scoped_release release;
        done = vcpu.cpu.finish();
    }
    return done ? nb::none() : nb::steal(exit_object(vcpu.cpu.exit));
}

void require_unanswered(const Cpu& cpu, const char* what) {
    if (!cpu.unanswered()) raise_error("BadArgument", std::string(what) + ": no exit waits for an answer");
}

void answer_bytes(Cpu& cpu, nb::handle value) {
    const ExitRecord& exit = cpu.exit;
    const auto size = static_cast<size_t>(PyBytes_GET_SIZE(value.ptr()));
    const size_t most = size_t{exit.count} * exit.size_bytes;
    if (exit.kind != ExitKind::PortIn) raise_error("BadArgument", "only a PortIn is answered with bytes");
    if (size == 0 || size % exit.size_bytes != 0 || size > most)
        raise_error("BadArgument", "an answer of " + std::to_string(size) + " bytes: whole items of " + std::to_string(exit.size_bytes) +
                                       " bytes would do, at most " + std::to_string(most));
    const auto* bytes = reinterpret_cast<const u8*>(PyBytes_AS_STRING(value.ptr()));
    if (exit.qualification >> 4 & 1) return cpu.answer_bytes(bytes, size);
    u64 number = 0;
    std::memcpy(&number, bytes, size);
    cpu.answer(number);
}

void answer(VcpuObject& vcpu, nb::handle value) {
    Cpu& cpu = idle(vcpu);
    require_unanswered(cpu, "answer");
    if (PyBytes_Check(value.ptr())) return answer_bytes(cpu, value);
    const bool write = cpu.exit.kind == ExitKind::MsrWrite;
    if (value.is_none() != write)
        raise_error("BadArgument", write ? "an MsrWrite is accepted by answer() without a value" : "answer() needs the value that was read");
    if (write) return cpu.answer(0);
    const nb::object index = nb::steal(PyNumber_Index(value.ptr()));
    if (!index.is_valid()) throw nb::python_error();
    const u64 number = PyLong_AsUnsignedLongLong(index.ptr());
    const unsigned size = cpu.exit.kind == ExitKind::MsrRead ? 8 : cpu.exit.size_bytes;
    if (PyErr_Occurred() || (size < 8 && number >> 8 * size)) {
        PyErr_Clear();
        raise_error("BadArgument", std::string("answer ") + nb::str(index).c_str() + " does not fit in " + std::to_string(size) + " unsigned bytes");
    }
    cpu.answer(number);
}

void refuse(VcpuObject& vcpu) {
    Cpu& cpu = idle(vcpu);
    require_unanswered(cpu, "refuse");
    if (cpu.exit.kind != ExitKind::MsrRead && cpu.exit.kind != ExitKind::MsrWrite)
        raise_error("BadArgument", "only MsrRead and MsrWrite can be refused");
    cpu.refuse();
}

u64 read_register(VcpuObject& vcpu, unsigned reg) {
    u64 value = 0;
    if (!idle(vcpu).read_register(reg, value)) throw nb::key_error("no such register");
    return value;
}

void write_register(VcpuObject& vcpu, unsigned reg, u64 value) {
    if (!idle(vcpu).write_register(reg, value)) throw nb::key_error("no such register");
}

u64 read_vmcs(VcpuObject& vcpu, u32 field) {
    u64 value = 0;
    if (!idle(vcpu).read_vmcs(field, value)) throw nb::key_error("no such VMCS field");
    return value;
}

void write_vmcs(VcpuObject& vcpu, u32 field, u64 value) {
    if (!idle(vcpu).write_vmcs(field, value)) throw nb::key_error("no such writable VMCS field");
}

u64 read_msr(VcpuObject& vcpu, u32 msr) {
    u64 value = 0;
    if (!idle(vcpu).read_msr(msr, value)) throw nb::key_error("no such MSR");
    return value;
}

void write_msr(VcpuObject& vcpu, u32 msr, u64 value) {
    u64 old = 0;
    if (!idle(vcpu).read_msr(msr, old)) throw nb::key_error("no such MSR");
    if (!vcpu.cpu.write_msr(msr, value)) raise_error("BadArgument", "it has reserved bits, or is an address that is not canonical");
    vcpu.cpu.state_changed();
}

void msr_exits(VcpuObject& vcpu, u32 msr, bool exits) {
    Cpu& cpu = idle(vcpu);
    auto& set = cpu.raw() ? cpu.native_msrs : cpu.exiting_msrs;
    if (exits != cpu.raw())
        set.insert(msr);
    else
        set.erase(msr);
}

void set_cpuid(VcpuObject& vcpu, const std::vector<CpuidRow>& rows) {
    std::vector<CpuidLeaf> leaves;
    for (const auto& [leaf, subleaf, eax, ebx, ecx, edx] : rows) leaves.push_back({leaf, subleaf, {eax, ebx, ecx, edx}});
    idle(vcpu).cpuid = CpuidTable(std::move(leaves));
    vcpu.cpu.forget_code();
}

std::vector<CpuidRow> rows_of(const CpuidTable& table) {
    std::vector<CpuidRow> rows;
    for (const CpuidLeaf& l : table.leaves()) rows.emplace_back(l.leaf, l.subleaf, l.reg[0], l.reg[1], l.reg[2], l.reg[3]);
    return rows;
}

u64 capability(VcpuObject&, unsigned word) {
    bool known = false;
    const u64 value = Capabilities::word(word, known);
    if (!known) throw nb::key_error("no such capability word");
    return value;
}

void inject(VcpuObject& vcpu, unsigned vector, std::optional<u32> error_code, unsigned kind) {
    Event event;
    event.pending = true;
    event.vector = static_cast<u8>(vector);
    event.type = static_cast<EventType>(kind & 7);
    event.has_error = error_code.has_value();
    event.error = error_code.value_or(0);
    event.length = static_cast<u8>(idle(vcpu).vmcs.entry_length);
    vcpu.cpu.inject(event);
}

void set_space(VcpuObject& vcpu, nb::object space) {
    idle(vcpu).move_to(space.is_none() ? vcpu.home : nb::cast<GuestMemory&>(space));
    vcpu.space = std::move(space);
}

nb::object translate(VcpuObject& vcpu, u64 gva, bool write) {
    u64 gpa = 0;
    if (!idle(vcpu).translate(gva, write ? Access::Write : Access::Read, gpa)) return nb::none();
    return nb::cast(gpa);
}

nb::bytes read_xsave(VcpuObject& vcpu) {
    const std::vector<u8> image = idle(vcpu).xsave_image();
    return nb::bytes(reinterpret_cast<const char*>(image.data()), image.size());
}

void write_xsave(VcpuObject& vcpu, const nb::bytes& image) {
    Cpu& cpu = idle(vcpu);
    const auto* bytes = reinterpret_cast<const u8*>(image.c_str());
    if (const char* problem = Cpu::xsave_problem(bytes, image.size())) raise_error("BadArgument", std::string("an XSAVE image that XRSTOR would refuse: ") + problem);
    cpu.set_xsave_image(bytes, image.size());
}

// Why a run would end with BadGuestState at once, or None.
nb::object state_problem(VcpuObject& vcpu) {
    const char* problem = idle(vcpu).state_problem();
    return problem ? nb::object(nb::str(problem)) : nb::none();
}

nb::bytes read_unfinished(VcpuObject& vcpu) {
    const std::vector<u8> bytes = idle(vcpu).unfinished();
    return nb::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void write_unfinished(VcpuObject& vcpu, const nb::bytes& image) {
    if (!idle(vcpu).resume(reinterpret_cast<const u8*>(image.c_str()), image.size()))
        raise_error("BadArgument", "these bytes are not the log of an unfinished instruction");
}

nb::dict stats(VcpuObject& vcpu) {
    const RunStats s = idle(vcpu).stats();
    nb::dict d;
    d["instructions"] = vcpu.cpu.instructions();
    d["exits"] = s.exits;
    d["blocks_decoded"] = s.blocks_decoded;
    d["tlb_misses"] = s.tlb_misses;
    d["faults"] = s.faults;
    d["code_writes"] = s.code_writes;
    d["decode_ns"] = s.decode_ns;
    d["tlb_miss_ns"] = s.miss_ns;
    return d;
}

nb::list traced(VcpuObject& vcpu) {
    nb::list rips;
    for (const auto& t : idle(vcpu).traced()) rips.append(nb::make_tuple(t.linear, t.cs_base, t.bits));
    return rips;
}

nb::list recent(VcpuObject& vcpu) {
    nb::list blocks;
    for (const auto& b : idle(vcpu).recent()) {
        const unsigned bits = b.mode & mode::long64 ? 64 : b.mode & mode::code32 ? 32 : 16;
        blocks.append(nb::make_tuple(b.linear, bits, b.count));
    }
    return blocks;
}

void bind_state(nb::class_<VcpuObject>& cls) {
    cls.def("read_register", &read_register)
        .def("write_register", &write_register)
        .def("read_vmcs", &read_vmcs)
        .def("write_vmcs", &write_vmcs)
        .def("read_msr", &read_msr)
        .def("write_msr", &write_msr)
        .def("msr_exits", &msr_exits)
        .def("unknown_msr_exits", [](VcpuObject& v, bool exits) { idle(v).unknown_msrs_exit = exits; })
        .def("cpuid_exits", [](VcpuObject& v, bool exits) { idle(v).cpuid_exits = exits; })
        .def("read_xsave", &read_xsave)
        .def("write_xsave", &write_xsave)
        .def("state_problem", &state_problem)
        .def("read_unfinished", &read_unfinished)
        .def("write_unfinished", &write_unfinished)
        .def("set_cpuid", &set_cpuid)
        .def("get_cpuid", [](VcpuObject& v) { return rows_of(idle(v).cpuid); })
        .def("capability", &capability)
        .def("inject", &inject, nb::arg("vector"), nb::arg("error_code").none(), nb::arg("kind"))
        .def("translate", &translate, nb::arg("gva"), nb::arg("write") = false)
        .def("set_space", &set_space, nb::arg("space").none(),
             nb::sig("def set_space(self, space: GuestMemory | None) -> None"), "None: the one that it begins in.")
        .def("invalidate_tlb", [](VcpuObject& v) { idle(v).forget_translations(); })
        .def("reset", [](VcpuObject& v) { idle(v).power_up(); })
        .def("set_breakpoint", [](VcpuObject& v, u64 gva, bool on) { idle(v).set_breakpoint(gva, on); })
        .def("set_watchpoint", [](VcpuObject& v, u64 gva, u64 size_bytes, bool reads, bool writes, bool on) {
            return idle(v).set_watchpoint(gva, size_bytes, reads, writes, on);
        })
        .def("trace", [](VcpuObject& v, size_t keep) { idle(v).trace(keep); })
        .def("traced", &traced)
        .def("recent", &recent);
}

}  // namespace

void bind_cpu(nb::module_& module) {
    auto cls = nb::class_<VcpuObject>(module, "Cpu", nb::is_weak_referenceable(), "One virtual processor.");
    cls.def(nb::init<GuestMemory&, Clock&, unsigned, bool, apic::Interrupts*>(), nb::arg("memory"), nb::arg("clock"), nb::arg("index") = 0,
            nb::arg("raw") = false, nb::arg("interrupts") = nb::none(), nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>(),
            nb::keep_alive<1, 6>())
        .def("run", &run, nb::arg("deadline_ns") = nb::none(), nb::arg("budget") = nb::none(),
             nb::sig("def run(self, deadline_ns: int | None = None, budget: int | None = None) -> Exit"), "Run to the next exit.")
        .def("run_raw", &run_raw, nb::arg("deadline_ns") = nb::none())
        .def("step", &step)
        .def("finish", &finish)
        .def("close", &close, nb::arg("why"), nb::arg("kick") = true)
        .def("kick", &kick, "From any thread; counts for the next run if none is on.")
        .def("send_init", &send_init, "INIT, as from an interrupt controller; from any thread.")
        .def("send_start_up", &send_start_up, nb::arg("vector"))
        .def("answer", &answer, nb::arg("value") = nb::none())
        .def("refuse", &refuse)
        .def_prop_ro("running", [](const VcpuObject& v) { return v.running.load(std::memory_order_relaxed); })
        .def_prop_ro("unanswered", [](const VcpuObject& v) { return v.cpu.unanswered(); })
        .def_prop_ro("instructions", [](const VcpuObject& v) { return v.cpu.instructions(); })
        .def_prop_ro("exec_time_ns", [](const VcpuObject& v) { return v.cpu.run_ns(); })
        .def("stats", &stats);
    bind_state(cls);
    bind_vcpu_apic(cls);
    bind_vcpu_outside(cls);
    bind_vcpu_vmx(cls);
    module.def("default_cpuid", [](bool apic) {
        CpuidTable table;
        if (apic) table.add_apic();
        return rows_of(table);
    }, nb::arg("apic") = false);
}

}  // namespace binding
