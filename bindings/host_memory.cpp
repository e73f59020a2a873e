// Host memory with the buffer protocol: our own anonymous pages, or somebody's buffer kept alive.
#include <sys/mman.h>

#include <nanobind/stl/string.h>

#include "bindings/common.h"
#include "silicon/types.h"

namespace binding {
namespace {

class HostMemory {
  public:
    HostMemory(nb::object buffer, size_t size) {
        if (!buffer.is_none()) {
            if (PyObject_GetBuffer(buffer.ptr(), &view_, PyBUF_WRITABLE) != 0) {
                PyErr_Clear();
                if (PyObject_GetBuffer(buffer.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
            }
            borrowed_ = true;
            address_ = static_cast<silicon::u8*>(view_.buf);
            size_ = size ? std::min<size_t>(size, static_cast<size_t>(view_.len)) : static_cast<size_t>(view_.len);
            readonly_ = view_.readonly;
            return;
        }
        if (size == 0) raise_error("BadArgument", "size 0: memory needs at least a byte");
        void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (pages == MAP_FAILED) raise_error("NoResources", "the host has no " + std::to_string(size) + " bytes of memory to give");
        address_ = static_cast<silicon::u8*>(pages);
        size_ = size;
    }
    HostMemory(const HostMemory&) = delete;
    HostMemory& operator=(const HostMemory&) = delete;
    ~HostMemory() { release(); }

    // Refuses further access. The pages go now, or when the last exported buffer goes.
    void close() {
        closed_ = true;
        if (exports_ == 0) release();
    }
    void check() const {
        if (closed_) raise_error("Closed", "this memory was closed before this use");
    }
    silicon::u64 address() const { return reinterpret_cast<silicon::u64>(address_); }
    bool readonly() const { return readonly_; }
    size_t size() const { return size_; }

    static int get_buffer(PyObject* self, Py_buffer* view, int flags) {
        auto* memory = nb::inst_ptr<HostMemory>(self);
        try {
            memory->check();
        } catch (nb::python_error& error) {
            error.restore();
            return -1;
        }
        const int result = PyBuffer_FillInfo(view, self, memory->address_, static_cast<Py_ssize_t>(memory->size_), memory->readonly_, flags);
        if (result == 0) ++memory->exports_;
        return result;
    }
    static void release_buffer(PyObject* self, Py_buffer*) {
        auto* memory = nb::inst_ptr<HostMemory>(self);
        if (--memory->exports_ == 0 && memory->closed_) memory->release();
    }

  private:
    void release() {
        if (!address_) return;
        if (borrowed_)
            PyBuffer_Release(&view_);
        else
            munmap(address_, size_);
        address_ = nullptr;
    }

    Py_buffer view_{};
    silicon::u8* address_ = nullptr;
    size_t size_ = 0;
    bool borrowed_ = false, readonly_ = false, closed_ = false;
    size_t exports_ = 0;
};

nb::object view_of(nb::handle self) {
    PyObject* view = PyMemoryView_FromObject(self.ptr());
    if (!view) throw nb::python_error();
    return nb::steal(view);
}

// An int for an index, bytes for a slice.
nb::object get_item(nb::handle self, nb::handle key) {
    const nb::object item = nb::steal(PyObject_GetItem(view_of(self).ptr(), key.ptr()));
    if (!item.is_valid()) throw nb::python_error();
    if (!PySlice_Check(key.ptr())) return item;
    return nb::steal(PyBytes_FromObject(item.ptr()));
}

void set_item(nb::handle self, nb::handle key, nb::handle value) {
    if (PyObject_SetItem(view_of(self).ptr(), key.ptr(), value.ptr()) != 0) throw nb::python_error();
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&HostMemory::get_buffer)},
                       {Py_bf_releasebuffer, reinterpret_cast<void*>(&HostMemory::release_buffer)},
                       {0, nullptr}};

}  // namespace

void bind_host_memory(nb::module_& module) {
    nb::class_<HostMemory>(module, "HostMemory", nb::type_slots(slots), nb::dynamic_attr(), nb::is_weak_referenceable(),
                           "Host memory with the buffer protocol.")
        .def(nb::init<nb::object, size_t>(), nb::arg("buffer").none(), nb::arg("size"))
        .def_static("allocate", [](size_t size) { return new HostMemory(nb::none(), size); }, nb::arg("size"))
        .def_static("over", [](nb::object buffer) { return new HostMemory(std::move(buffer), 0); }, nb::arg("buffer"))
        .def_prop_ro("address", &HostMemory::address, "HVA of the first byte.")
        .def_prop_ro("readonly", &HostMemory::readonly)
        .def("__len__", &HostMemory::size)
        .def("__getitem__", &get_item)
        .def("__setitem__", &set_item)
        .def("close", &HostMemory::close, "Refuse further access; the pages go when the last exported buffer goes.");
}

}  // namespace binding
