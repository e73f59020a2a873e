// The guest-physical address space, and the clock of a VM.
#include "silicon/mem/guest_memory.h"

#include <cstring>
#include <vector>

#include "bindings/common.h"
#include "silicon/clock.h"

namespace binding {
namespace {

using silicon::Clock;
using silicon::GuestMemory;
using silicon::u64;
using silicon::u8;

void check_range(u64 gpa, u64 size) {
    const u64 mask = silicon::page_offset_mask;
    if (gpa & mask || size & mask || size == 0 || gpa >= GuestMemory::gpa_end || size > GuestMemory::gpa_end - gpa)
        throw nb::value_error("the range is not whole pages below the end of the guest-physical address space");
}

void map(GuestMemory& memory, u64 gpa, u64 host, u64 size, unsigned perm) {
    check_range(gpa, size);
    if (host & silicon::page_offset_mask) throw nb::value_error("the host address is not a page's");
    const nb::gil_scoped_release release;
    memory.map(gpa, reinterpret_cast<u8*>(host), size, static_cast<u8>(perm & silicon::perm_all));
}

void require_mapped(const GuestMemory& memory, u64 gpa, u64 size) {
    check_range(gpa, size);
    if (memory.mapped_bytes(gpa, size) != size) throw nb::value_error("not all of the range is mapped");
}

void unmap(GuestMemory& memory, u64 gpa, u64 size) {
    require_mapped(memory, gpa, size);
    const nb::gil_scoped_release release;
    memory.unmap(gpa, size);
}

void protect(GuestMemory& memory, u64 gpa, u64 size, unsigned perm) {
    require_mapped(memory, gpa, size);
    const nb::gil_scoped_release release;
    memory.protect(gpa, size, static_cast<u8>(perm & silicon::perm_all));
}

nb::object lookup(const GuestMemory& memory, u64 gpa) {
    const silicon::PageEntry page = memory.entry(gpa);
    if (!page.is_mapped()) return nb::none();
    return nb::make_tuple(reinterpret_cast<u64>(page.host()) + (gpa & silicon::page_offset_mask), page.perm());
}

// Calls `part` with a host pointer for each run within a page. LookupError where a page is not mapped.
template <class Part>
void for_each_page(const GuestMemory& memory, u64 gpa, u64 size, Part part) {
    for (u64 done = 0; done < size;) {
        const silicon::PageEntry page = memory.entry(gpa + done);
        if (!page.is_mapped()) {
            PyErr_Format(PyExc_LookupError, "gpa %#llx is not mapped", static_cast<unsigned long long>(gpa + done));
            throw nb::python_error();
        }
        const u64 offset = (gpa + done) & silicon::page_offset_mask;
        const u64 bytes = std::min(size - done, silicon::page_bytes - offset);
        part(page.host() + offset, done, bytes);
        done += bytes;
    }
}

nb::bytes read(const GuestMemory& memory, u64 gpa, u64 size) {
    for_each_page(memory, gpa, size, [](u8*, u64, u64) {});
    PyObject* bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size));
    if (!bytes) throw nb::python_error();
    char* to = PyBytes_AS_STRING(bytes);
    for_each_page(memory, gpa, size, [&](const u8* host, u64 done, u64 n) { std::memcpy(to + done, host, n); });
    return nb::steal<nb::bytes>(bytes);
}

void write(GuestMemory& memory, u64 gpa, nb::object data) {
    Py_buffer view;
    if (PyObject_GetBuffer(data.ptr(), &view, PyBUF_SIMPLE) != 0) throw nb::python_error();
    const u64 size = static_cast<u64>(view.len);
    try {
        for_each_page(memory, gpa, size, [](u8*, u64, u64) {});
        for_each_page(memory, gpa, size, [&](u8* host, u64 done, u64 n) {
            std::memcpy(host, static_cast<const u8*>(view.buf) + done, n);
            if (memory.entry(gpa + done).is_code()) memory.code_written(gpa + done, n);
        });
        memory.mark_written(gpa, size);
    } catch (...) {
        PyBuffer_Release(&view);
        throw;
    }
    PyBuffer_Release(&view);
}

void log(GuestMemory& memory, u64 gpa, u64 size, bool on) {
    check_range(gpa, size);
    const nb::gil_scoped_release release;
    memory.log(gpa, size, on);
}

// A bit a page, lowest first.
nb::bytes take_written(GuestMemory& memory, u64 gpa, u64 size) {
    check_range(gpa, size);
    std::vector<u8> bitmap((size / silicon::page_bytes + 7) / 8);
    {
        const nb::gil_scoped_release release;
        memory.take_written(gpa, size, bitmap.data());
    }
    return nb::bytes(bitmap.data(), bitmap.size());
}

void mark_written(GuestMemory& memory, u64 gpa, u64 size) {
    if (gpa >= GuestMemory::gpa_end || size > GuestMemory::gpa_end - gpa) throw nb::value_error("the range ends beyond the guest-physical address space");
    if (size) memory.mark_written(gpa, size);
}

void mark_pages(GuestMemory& memory, u64 gpa, nb::bytes bitmap) {
    const auto* bits = static_cast<const u8*>(bitmap.data());
    for (u64 n = 0; n < bitmap.size() * 8; ++n) {
        if (bits[n / 8] == 0)
            n |= 7;
        else if (bits[n / 8] >> n % 8 & 1)
            memory.mark_written(gpa + n * silicon::page_bytes, 1);
    }
}

}  // namespace

void bind_guest_memory(nb::module_& module) {
    nb::class_<Clock>(module, "Clock", "Time of one VM.")
        .def(nb::init<double>(), nb::arg("ns_per_instruction") = 0.0)
        .def_prop_ro("now_ns", &Clock::now_ns)
        .def_prop_ro("tsc_hz", [](const Clock&) { return Clock::tsc_hz; });

    auto memory = nb::class_<GuestMemory>(module, "GuestMemory", nb::is_weak_referenceable(), "The guest-physical address space of one VM.")
                      .def(nb::init<>())
                      .def("map", &map, nb::arg("gpa"), nb::arg("host"), nb::arg("size"), nb::arg("perm"))
                      .def("unmap", &unmap, nb::arg("gpa"), nb::arg("size"))
                      .def("protect", &protect, nb::arg("gpa"), nb::arg("size"), nb::arg("perm"))
                      .def("mapped_bytes", &GuestMemory::mapped_bytes, nb::arg("gpa"), nb::arg("size"))
                      .def("log", &log, nb::arg("gpa"), nb::arg("size"), nb::arg("on"))
                      .def("logged_pages", &GuestMemory::logged_pages, nb::arg("gpa"), nb::arg("size"))
                      .def("take_written", &take_written, nb::arg("gpa"), nb::arg("size"))
                      .def("mark_written", &mark_written, nb::arg("gpa"), nb::arg("size"))
                      .def("mark_pages", &mark_pages, nb::arg("gpa"), nb::arg("bitmap"))
                      .def("lookup", &lookup, nb::arg("gpa"))
                      .def("read", &read, nb::arg("gpa"), nb::arg("size"))
                      .def("write", &write, nb::arg("gpa"), nb::arg("data"));
    memory.attr("GPA_BITS") = GuestMemory::gpa_bits;
}

}  // namespace binding
