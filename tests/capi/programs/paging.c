/* Memory that is not there, behind the guest's own page tables: an access has a linear and a physical address then, and
 * one by the page walk itself is told apart. */
#include "guest.h"

/* Bits of the qualification. Intel SDM vol. 3, "Exit Qualification for EPT Violations". */
enum { READ = 1, LINEAR = 0x80, NO_WALK = 0x100, KNOWN = 0x1bf };
enum { DATA = 0x3000, HOLE = 0x20000, PAGE_TABLE = TABLES + 3 * PAGE };

GUEST(through_tables, 64, "mov rax, [0x3010]; hlt");

int main(void) {
    const struct machine m = make_machine();
    PLACE(m.ram, CODE, through_tables);
    long_mode(m.vcpu, m.ram);
    store64(m.ram + TABLES + 2 * PAGE, PAGE_TABLE | PRESENT_WRITABLE_USER); /* pages of 4 KiB: */
    store64(m.ram + PAGE_TABLE + 8 * (CODE / PAGE), CODE | PRESENT_WRITABLE_USER);
    store64(m.ram + PAGE_TABLE + 8 * (DATA / PAGE), HOLE | PRESENT_WRITABLE_USER);
    RUN_TO(m.vcpu, VMX_REASON_EPT_VIOLATION);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC) & KNOWN, READ | LINEAR | NO_WALK);
    SAME(vmcs(m.vcpu, VMCS_RO_GUEST_LIN_ADDR), DATA + 0x10);
    SAME(vmcs(m.vcpu, VMCS_GUEST_PHYSICAL_ADDRESS), HOLE + 0x10);
    CHECK(hv_vm_unmap(PAGE_TABLE, PAGE));
    CHECK(hv_vcpu_invalidate_tlb(m.vcpu));
    RUN_TO(m.vcpu, VMX_REASON_EPT_VIOLATION);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC) & (LINEAR | NO_WALK | READ), LINEAR | READ);
    SAME(vmcs(m.vcpu, VMCS_GUEST_PHYSICAL_ADDRESS), PAGE_TABLE + 8 * (CODE / PAGE)); /* the entry that was read */
    end_machine(m);
    puts("ok");
    return 0;
}
