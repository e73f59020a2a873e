/* Port notifiers: an OUT that matches becomes a message, and no exit. On a Mac the handle is a Mach port; here it is a
 * file descriptor: a pipe gets a message each time, an eventfd is counted up. */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest.h"

/* What is read is Apple's hv_ion_message_t without its trailer. */
enum { MESSAGE_BYTES = offsetof(hv_ion_message_t, trailer), PORT = 0x80, QUEUE = 5 };

GUEST(out8, 16, "out 0x80, al; hlt");
GUEST(out16, 16, "out 0x80, ax; hlt");
GUEST(out32, 16, "out 0x80, eax; hlt");
GUEST(in8, 16, "in al, 0x80; hlt");
GUEST(strings, 16, "mov dx, 0x80; mov si, 0x3000; outsb; hlt");

static struct machine m;
static int ends[2]; /* a pipe: read, write */

static uint64_t guest_goes(const uint8_t *code, const uint8_t *end, uint64_t value) {
    memcpy(m.ram + CODE, code, (size_t)(end - code));
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    set_reg(m.vcpu, HV_X86_RAX, value);
    CHECK(hv_vcpu_run(m.vcpu));
    return vmcs(m.vcpu, VMCS_RO_EXIT_REASON);
}
#define GOES(name, value) guest_goes(name, name##_end, (value))

static void message_is(uint64_t size, uint64_t value) {
    hv_ion_message_t message;
    memset(&message, 0, sizeof message);
    SAME(read(ends[0], &message, MESSAGE_BYTES), MESSAGE_BYTES);
    SAME(message.header.msgh_size, MESSAGE_BYTES);
    SAME(message.addr, PORT);
    SAME(message.size, size);
    SAME(message.value, value);
}

static void no_message(void) {
    char byte;
    SAME(read(ends[0], &byte, 1), -1); /* the pipe does not block */
}

static mach_port_t pipe_handle(void) { return (mach_port_t)ends[1]; }

static void one_value_of_one_size(void) {
    CHECK(hv_vm_add_pio_notifier(PORT, 1, 0x41, pipe_handle(), HV_ION_NONE));
    SAME(GOES(out8, 0x1141), VMX_REASON_HLT); /* no exit; the guest is behind the OUT */
    message_is(1, 0x41);
    SAME(GOES(out8, 0x42), VMX_REASON_IO); /* another value */
    SAME(reg(m.vcpu, HV_X86_RIP), CODE);
    SAME(GOES(out16, 0x41), VMX_REASON_IO); /* another size */
    SAME(GOES(in8, 0x41), VMX_REASON_IO);   /* only OUT */
    m.ram[0x3000] = 0x41;
    SAME(GOES(strings, 0), VMX_REASON_IO); /* no strings */
    no_message();
    CHECK(hv_vm_remove_pio_notifier(PORT, 1, 0x41, pipe_handle(), HV_ION_NONE));
    SAME(GOES(out8, 0x41), VMX_REASON_IO);
}

static void any_value_any_size(void) {
    CHECK(hv_vm_add_pio_notifier(PORT, 2, 0, pipe_handle(), HV_ION_ANY_VALUE));
    SAME(GOES(out16, 0xbeef), VMX_REASON_HLT);
    message_is(2, 0xbeef);
    SAME(GOES(out8, 1), VMX_REASON_IO);
    CHECK(hv_vm_remove_pio_notifier(PORT, 2, 0, pipe_handle(), HV_ION_ANY_VALUE));
    CHECK(hv_vm_add_pio_notifier(PORT, 0, 0, pipe_handle(), HV_ION_ANY_VALUE | HV_ION_ANY_SIZE));
    SAME(GOES(out32, 0xdeadbeef), VMX_REASON_HLT);
    message_is(4, 0xdeadbeef);
    SAME(GOES(out8, 0x17), VMX_REASON_HLT);
    message_is(1, 0x17);
    CHECK(hv_vm_remove_pio_notifier(PORT, 0, 0, pipe_handle(), HV_ION_ANY_VALUE | HV_ION_ANY_SIZE));
}

/* A queue holds five: what comes then is lost, or exits where HV_ION_EXIT_FULL asks for it. */
static void a_full_queue(void) {
    CHECK(hv_vm_add_pio_notifier(PORT, 1, 0, pipe_handle(), HV_ION_ANY_VALUE));
    for (uint64_t n = 0; n < QUEUE + 2; ++n) SAME(GOES(out8, n), VMX_REASON_HLT);
    for (uint64_t n = 0; n < QUEUE; ++n) message_is(1, n);
    no_message();
    CHECK(hv_vm_remove_pio_notifier(PORT, 1, 0, pipe_handle(), HV_ION_ANY_VALUE));
    CHECK(hv_vm_add_pio_notifier(PORT, 1, 0, pipe_handle(), HV_ION_ANY_VALUE | HV_ION_EXIT_FULL));
    for (uint64_t n = 0; n < QUEUE; ++n) SAME(GOES(out8, n), VMX_REASON_HLT);
    SAME(GOES(out8, 0x99), VMX_REASON_IO);
    message_is(1, 0);
    SAME(GOES(out8, 0x99), VMX_REASON_HLT);
    for (uint64_t n = 1; n < QUEUE; ++n) message_is(1, n);
    message_is(1, 0x99);
    CHECK(hv_vm_remove_pio_notifier(PORT, 1, 0, pipe_handle(), HV_ION_ANY_VALUE | HV_ION_EXIT_FULL));
}

/* A doorbell that only counts; and a socket. */
static void other_handles(void) {
    int pair[2];
    uint64_t rings = 0;
    const int bell = eventfd(0, 0);
    CHECK(hv_vm_add_pio_notifier(PORT, 1, 1, (mach_port_t)bell, HV_ION_NONE));
    for (int n = 0; n < 3; ++n) SAME(GOES(out8, 1), VMX_REASON_HLT);
    SAME(read(bell, &rings, sizeof rings), sizeof rings);
    SAME(rings, 3);
    EXPECT(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    CHECK(hv_vm_add_pio_notifier(PORT, 1, 2, (mach_port_t)pair[0], HV_ION_NONE)); /* beside the other */
    hv_ion_message_t message;
    SAME(GOES(out8, 2), VMX_REASON_HLT);
    SAME(read(pair[1], &message, sizeof message), MESSAGE_BYTES);
    SAME(message.value, 2);
    close(bell); /* nobody is there any more: the message is lost, but the notifier stays until it is removed */
    SAME(GOES(out8, 1), VMX_REASON_HLT);
    CHECK(hv_vm_remove_pio_notifier(PORT, 1, 1, (mach_port_t)bell, HV_ION_NONE));
    CHECK(hv_vm_remove_pio_notifier(PORT, 1, 2, (mach_port_t)pair[0], HV_ION_NONE));
    close(pair[0]);
    close(pair[1]);
}

static void what_is_refused(void) {
    REFUSED(HV_BAD_ARGUMENT, hv_vm_add_pio_notifier(PORT, 3, 0, pipe_handle(), HV_ION_NONE));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_add_pio_notifier(PORT, 8, 0, pipe_handle(), HV_ION_NONE));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_add_pio_notifier(PORT, 1, 0x100, pipe_handle(), HV_ION_NONE)); /* does not fit */
    REFUSED(HV_BAD_ARGUMENT, hv_vm_add_pio_notifier(PORT, 1, 0, 9999, HV_ION_NONE));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_add_pio_notifier(PORT, 1, 0, pipe_handle(), 16));
    CHECK(hv_vm_add_pio_notifier(PORT, 1, 7, pipe_handle(), HV_ION_NONE));
    EXPECT(hv_vm_add_pio_notifier(PORT, 1, 7, pipe_handle(), HV_ION_NONE) != HV_SUCCESS); /* the very same */
    EXPECT(hv_vm_remove_pio_notifier(PORT, 1, 8, pipe_handle(), HV_ION_NONE) != HV_SUCCESS);
    EXPECT(hv_vm_remove_pio_notifier(PORT, 1, 7, pipe_handle(), HV_ION_EXIT_FULL) != HV_SUCCESS);
    CHECK(hv_vm_remove_pio_notifier(PORT, 1, 7, pipe_handle(), HV_ION_NONE));
    EXPECT(hv_vm_remove_pio_notifier(PORT, 1, 7, pipe_handle(), HV_ION_NONE) != HV_SUCCESS);
}

int main(void) {
    EXPECT(pipe(ends) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    REFUSED(HV_NO_DEVICE, hv_vm_add_pio_notifier(PORT, 1, 0, pipe_handle(), HV_ION_NONE));
    m = make_machine();
    one_value_of_one_size();
    any_value_any_size();
    a_full_queue();
    other_handles();
    what_is_refused();
    end_machine(m);
    puts("ok");
    return 0;
}
