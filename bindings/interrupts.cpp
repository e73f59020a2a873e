// The interrupt controllers of a VM for Python. All of it from any thread; nothing here waits for a vCPU.
#include "silicon/apic/interrupts.h"

#include <cstring>

#include "bindings/common.h"

namespace binding {
namespace {

using namespace silicon;
using apic::Interrupts;
using apic::IoState;
using apic::PicState;

constexpr size_t whole_bytes = sizeof(IoState) + 2 * sizeof(PicState);

template <class State>
nb::bytes bytes_of(const State& state) {
    return nb::bytes(reinterpret_cast<const char*>(&state), sizeof state);
}

template <class State>
State state_of(const nb::bytes& image, size_t at = 0) {
    State state;
    if (image.size() < at + sizeof state) raise_error("BadArgument", "the saved state is cut off");
    std::memcpy(&state, image.c_str() + at, sizeof state);
    return state;
}

void refuse_unless(bool taken) {
    if (!taken) raise_error("BadArgument", "these bytes are not a saved state of this interrupt controller");
}

nb::bytes read_state(Interrupts& hub) {
    char image[whole_bytes];
    const IoState io = hub.save_io();
    std::memcpy(image, &io, sizeof io);
    for (const bool primary : {true, false}) {
        const PicState pic = hub.save_pic(primary);
        std::memcpy(image + sizeof io + (primary ? 0 : sizeof pic), &pic, sizeof pic);
    }
    return nb::bytes(image, sizeof image);
}

void write_state(Interrupts& hub, const nb::bytes& image) {
    refuse_unless(image.size() == whole_bytes);
    const IoState before = hub.save_io();
    const PicState primary_before = hub.save_pic(true);
    refuse_unless(hub.load_io(state_of<IoState>(image)));
    const bool primary = hub.load_pic(true, state_of<PicState>(image, sizeof(IoState)));
    if (primary && hub.load_pic(false, state_of<PicState>(image, sizeof(IoState) + sizeof(PicState)))) return;
    hub.load_io(before);
    hub.load_pic(true, primary_before);
    refuse_unless(false);
}

}  // namespace

void bind_interrupts(nb::module_& module) {
    nb::class_<Interrupts>(module, "Interrupts", nb::is_weak_referenceable(), "The interrupt controllers of one VM.")
        .def(nb::init<>())
        .def_static("owns_port", &apic::PicPair::owns, nb::arg("port"))
        .def("set_irq", &Interrupts::set_irq, nb::arg("irq"), nb::arg("high"))
        .def("set_pin", &Interrupts::set_pin, nb::arg("pin"), nb::arg("high"))
        .def("set_pic_line", &Interrupts::set_pic_line, nb::arg("irq"), nb::arg("high"))
        .def("send_msi", [](Interrupts& hub, u64 address, u64 data) { hub.send_msi(address, data); }, nb::arg("address"), nb::arg("data"))
        .def("send_entry", [](Interrupts& hub, u64 entry) { hub.send(apic::IoApic::message_of(entry)); }, nb::arg("entry"))
        .def("read_state", &read_state)
        .def("write_state", &write_state, nb::arg("image"))
        .def("io_read", &Interrupts::io_read, nb::arg("offset"))
        .def("io_write", &Interrupts::io_write, nb::arg("offset"), nb::arg("value"))
        .def("read_io_state", [](Interrupts& hub) { return bytes_of(hub.save_io()); })
        .def("write_io_state", [](Interrupts& hub, const nb::bytes& image) { refuse_unless(hub.load_io(state_of<IoState>(image))); })
        .def("pic_read", &Interrupts::pic_read, nb::arg("port"))
        .def("pic_write", &Interrupts::pic_write, nb::arg("port"), nb::arg("value"))
        .def("read_pic_state", [](Interrupts& hub, bool primary) { return bytes_of(hub.save_pic(primary)); })
        .def("write_pic_state", [](Interrupts& hub, bool primary, const nb::bytes& image) {
            refuse_unless(hub.load_pic(primary, state_of<PicState>(image)));
        })
        .def("set_bus_hz", &Interrupts::set_bus_hz, nb::arg("hz"));
}

}  // namespace binding
