/* The VMCS field by field: what can be read, what can be written, and that it reads back exactly.
 * vmcs_fields.inc is made from the spec: FIELD(name, what Apple's table says of it). */
#include "guest.h"

enum access { NO_WORD, RW, CONDITIONAL, RO };
struct field {
    const char *name;
    uint32_t number;
    enum access access;
};
static const struct field fields[] = {
#define FIELD(name, access) {#name, name, access},
#include "vmcs_fields.inc"
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* A field's number tells what it is. Intel SDM vol. 3, "Encodings of VMCS Fields". */
enum kind { CONTROL, READ_ONLY, GUEST_STATE, HOST_STATE };
static enum kind kind_of(uint32_t number) { return (enum kind)(number >> 10 & 3); }

static uint64_t width_mask(uint32_t number) {
    static const uint64_t masks[] = {0xffff, UINT64_MAX, UINT32_MAX, UINT64_MAX}; /* 16 bits, 64, 32, natural */
    return masks[number >> 13 & 3];
}

/* Fields of features that no capability word offers, and those that are the framework's own (the EPT pointer). */
static const uint32_t absent[] = {
    VMCS_CTRL_POSTED_INT_N_VECTOR, VMCS_CTRL_EPTP_INDEX, VMCS_GUEST_INT_STATUS, VMCS_GUESTPML_INDEX,
    VMCS_CTRL_PML_ADDR, VMCS_CTRL_POSTED_INT_DESC_ADDR, VMCS_CTRL_VMFUNC_CTRL, VMCS_CTRL_EPTP,
    VMCS_CTRL_EOI_EXIT_BITMAP_0, VMCS_CTRL_EOI_EXIT_BITMAP_1, VMCS_CTRL_EOI_EXIT_BITMAP_2,
    VMCS_CTRL_EOI_EXIT_BITMAP_3, VMCS_CTRL_EPTP_LIST_ADDR, VMCS_CTRL_VMREAD_BITMAP_ADDR,
    VMCS_CTRL_VMWRITE_BITMAP_ADDR, VMCS_CTRL_VIRT_EXC_INFO_ADDR, VMCS_CTRL_XSS_EXITING_BITMAP,
    VMCS_CTRL_ENCLS_EXITING_BITMAP, VMCS_CTRL_SPP_TABLE, VMCS_CTRL_TSC_MULTIPLIER, VMCS_CTRL_ENCLV_EXITING_BITMAP,
    VMCS_GUEST_IA32_BNDCFGS, VMCS_GUEST_IA32_RTIT_CTL, VMCS_GUEST_IA32_PKRS, VMCS_GUEST_IA32_S_CET, VMCS_GUEST_SSP,
    VMCS_GUEST_IA32_INTR_SSP_TABLE_ADDR, VMCS_MAX,
};

static int is_absent(uint32_t number) {
    for (size_t n = 0; n < sizeof absent / sizeof *absent; ++n)
        if (absent[n] == number) return 1;
    return kind_of(number) == HOST_STATE;
}

static void must(int holds, const struct field *field, const char *what, uint64_t value) {
    if (holds) return;
    fprintf(stderr, "%s (%#x): %s %#" PRIx64 "\n", field->name, field->number, what, value);
    exit(1);
}

static void all_calls_refuse(hv_vcpuid_t vcpu, uint32_t number) {
    uint64_t value = 0, other = 0;
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_vcpu_read_vmcs(vcpu, number, &value));
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_vcpu_write_vmcs(vcpu, number, 0));
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_vcpu_get_cap_write_vmcs(vcpu, number, &value, &other));
}

/* Every field that is there can be read before the first write; what the capabilities allow, it holds already. */
static void read_before_the_first_write(hv_vcpuid_t vcpu) {
    for (const struct field *field = fields; field < fields + FIELDS; ++field) {
        uint64_t value = 0, zero = 0, one = 0;
        if (is_absent(field->number)) {
            all_calls_refuse(vcpu, field->number);
            must(field->access == NO_WORD, field, "is in Apple's table, but not here", 0);
            continue;
        }
        must(hv_vmx_vcpu_read_vmcs(vcpu, field->number, &value) == HV_SUCCESS, field, "cannot be read", 0);
        must((value & ~width_mask(field->number)) == 0, field, "is wider than its encoding:", value);
        if (kind_of(field->number) == READ_ONLY) {
            REFUSED(HV_BAD_ARGUMENT, hv_vmx_vcpu_write_vmcs(vcpu, field->number, 0));
            must(hv_vmx_vcpu_get_cap_write_vmcs(vcpu, field->number, &zero, &one) == HV_BAD_ARGUMENT, field,
                 "is writable", 0);
            must(field->access == NO_WORD || field->access == RO, field, "should be writable", 0);
            continue;
        }
        must(hv_vmx_vcpu_get_cap_write_vmcs(vcpu, field->number, &zero, &one) == HV_SUCCESS, field, "has no masks", 0);
        must((zero & ~one) == 0, field, "has bits that must be 1 and 0:", zero & ~one);
        must((value & zero) == zero && (value & ~one) == 0, field, "starts with what may not be:", value);
    }
}

/* A value with the bits that must be 1, and without those that must be 0. */
static uint64_t allowed(hv_vcpuid_t vcpu, uint32_t number, uint64_t value) {
    uint64_t zero = 0, one = 0;
    CHECK(hv_vmx_vcpu_get_cap_write_vmcs(vcpu, number, &zero, &one));
    return (value | zero) & one;
}

static void every_field_reads_back(hv_vcpuid_t vcpu) {
    static const uint64_t patterns[] = {0, UINT64_MAX, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 0x0123456789abcdef};
    for (const struct field *field = fields; field < fields + FIELDS; ++field) {
        if (is_absent(field->number) || kind_of(field->number) == READ_ONLY) continue;
        const uint64_t before = vmcs(vcpu, field->number);
        for (size_t n = 0; n < sizeof patterns / sizeof *patterns; ++n) {
            const uint64_t value = allowed(vcpu, field->number, patterns[n]);
            set_vmcs(vcpu, field->number, value);
            const uint64_t seen = vmcs(vcpu, field->number);
            must(seen == value, field, "does not read back what was written, but", seen);
            set_vmcs(vcpu, field->number, value | ~width_mask(field->number));
            must(vmcs(vcpu, field->number) == value, field, "keeps bits beyond its width:", vmcs(vcpu, field->number));
        }
        set_vmcs(vcpu, field->number, before);
    }
}

/* All fields at once: none is another one's place. */
static void no_field_is_another(hv_vcpuid_t vcpu) {
    uint64_t written[FIELDS];
    for (int n = 0; n < FIELDS; ++n) {
        if (is_absent(fields[n].number) || kind_of(fields[n].number) == READ_ONLY) continue;
        written[n] = allowed(vcpu, fields[n].number, 0x9e3779b97f4a7c15 * (fields[n].number + 1U));
        set_vmcs(vcpu, fields[n].number, written[n]);
    }
    for (int n = 0; n < FIELDS; ++n) {
        if (is_absent(fields[n].number) || kind_of(fields[n].number) == READ_ONLY) continue;
        must(vmcs(vcpu, fields[n].number) == written[n], fields + n, "was changed by another field to",
             vmcs(vcpu, fields[n].number));
    }
}

static void numbers_that_are_none(hv_vcpuid_t vcpu) {
    static uint8_t known[0x8000];
    for (int n = 0; n < FIELDS; ++n) known[fields[n].number] = 1;
    for (uint32_t number = 0; number < sizeof known; ++number)
        if (!known[number]) all_calls_refuse(vcpu, number);
    all_calls_refuse(vcpu, 0x1681e); /* RIP's number, and a bit that no encoding has */
    all_calls_refuse(vcpu, UINT32_MAX);
}

/* One state, two doors. */
static const struct door {
    hv_x86_reg_t reg;
    uint32_t field;
    uint64_t value;
} doors[] = {
    {HV_X86_RIP, VMCS_GUEST_RIP, 0x1234},
    {HV_X86_RSP, VMCS_GUEST_RSP, 0x5678},
    {HV_X86_RFLAGS, VMCS_GUEST_RFLAGS, 0x246},
    {HV_X86_CR0, VMCS_GUEST_CR0, 0x31},
    {HV_X86_CR3, VMCS_GUEST_CR3, 0x7000},
    {HV_X86_CR4, VMCS_GUEST_CR4, 0x2020},
    {HV_X86_DR7, VMCS_GUEST_DR7, 0x401},
    {HV_X86_ES, VMCS_GUEST_ES, 0x13},
    {HV_X86_CS, VMCS_GUEST_CS, 0x1b},
    {HV_X86_SS, VMCS_GUEST_SS, 0x23},
    {HV_X86_DS, VMCS_GUEST_DS, 0x2b},
    {HV_X86_FS, VMCS_GUEST_FS, 0x33},
    {HV_X86_GS, VMCS_GUEST_GS, 0x3b},
    {HV_X86_IDT_BASE, VMCS_GUEST_IDTR_BASE, 0x9000},
    {HV_X86_IDT_LIMIT, VMCS_GUEST_IDTR_LIMIT, 0x3ff},
    {HV_X86_GDT_BASE, VMCS_GUEST_GDTR_BASE, 0xa000},
    {HV_X86_GDT_LIMIT, VMCS_GUEST_GDTR_LIMIT, 0x7f},
    {HV_X86_LDTR, VMCS_GUEST_LDTR, 0x48},
    {HV_X86_LDT_BASE, VMCS_GUEST_LDTR_BASE, 0xb000},
    {HV_X86_LDT_LIMIT, VMCS_GUEST_LDTR_LIMIT, 0x1f},
    {HV_X86_LDT_AR, VMCS_GUEST_LDTR_AR, 0x82},
    {HV_X86_TR, VMCS_GUEST_TR, 0x50},
    {HV_X86_TSS_BASE, VMCS_GUEST_TR_BASE, 0xc000},
    {HV_X86_TSS_LIMIT, VMCS_GUEST_TR_LIMIT, 0x67},
    {HV_X86_TSS_AR, VMCS_GUEST_TR_AR, 0x83},
};

static void registers_and_fields_are_one(hv_vcpuid_t vcpu) {
    for (const struct door *door = doors; door < doors + sizeof doors / sizeof *doors; ++door) {
        set_vmcs(vcpu, door->field, door->value);
        SAME(reg(vcpu, door->reg), door->value);
        set_reg(vcpu, door->reg, door->value ^ 4);
        SAME(vmcs(vcpu, door->field), door->value ^ 4);
    }
    set_vmcs(vcpu, VMCS_GUEST_DS_BASE, 0x12340);
    set_reg(vcpu, HV_X86_DS, 0x77); /* the selector, and nothing else of the segment */
    SAME(vmcs(vcpu, VMCS_GUEST_DS_BASE), 0x12340);
}

/* What the guest leaves alone is after a run as it was before, selectors of any value among it. */
static void a_run_changes_nothing_else(void) {
    static const uint32_t kept[] = {
        VMCS_GUEST_ES, VMCS_GUEST_FS, VMCS_GUEST_GS_BASE, VMCS_GUEST_FS_LIMIT, VMCS_GUEST_LDTR, VMCS_GUEST_LDTR_AR,
        VMCS_GUEST_TR_AR, VMCS_GUEST_GDTR_BASE, VMCS_GUEST_GDTR_LIMIT, VMCS_GUEST_IDTR_LIMIT, VMCS_GUEST_CR0,
        VMCS_GUEST_CR3, VMCS_GUEST_CR4, VMCS_GUEST_DR7, VMCS_GUEST_RSP, VMCS_CTRL_EXC_BITMAP, VMCS_CTRL_CPU_BASED,
        VMCS_CTRL_PIN_BASED, VMCS_CTRL_VMEXIT_CONTROLS, VMCS_GUEST_IA32_EFER, VMCS_CTRL_CR0_SHADOW,
        VMCS_GUEST_IA32_PAT, VMCS_GUEST_ACTIVITY_STATE, VMCS_GUEST_INTERRUPTIBILITY, VMCS_GUEST_DEBUG_EXC,
    };
    uint64_t before[sizeof kept / sizeof *kept];
    const struct machine m = make_machine();
    memset(m.ram + CODE, 0x90, 16);
    m.ram[CODE + 16] = HLT;
    set_vmcs(m.vcpu, VMCS_GUEST_ES, 0xbeef);
    set_vmcs(m.vcpu, VMCS_GUEST_ES_BASE, 0xbeef0);
    set_vmcs(m.vcpu, VMCS_GUEST_LDTR, 0x1238);
    set_vmcs(m.vcpu, VMCS_GUEST_GDTR_BASE, 0x4000);
    set_vmcs(m.vcpu, VMCS_GUEST_GDTR_LIMIT, 0);
    set_vmcs(m.vcpu, VMCS_GUEST_IDTR_LIMIT, 0);
    set_vmcs(m.vcpu, VMCS_CTRL_CR0_SHADOW, 0x60000010);
    for (size_t n = 0; n < sizeof kept / sizeof *kept; ++n) before[n] = vmcs(m.vcpu, kept[n]);
    RUN_TO(m.vcpu, VMX_REASON_HLT);
    SAME(vmcs(m.vcpu, VMCS_GUEST_RIP), CODE + 16);
    for (size_t n = 0; n < sizeof kept / sizeof *kept; ++n) {
        if (vmcs(m.vcpu, kept[n]) == before[n]) continue;
        fprintf(stderr, "field %#x was %#" PRIx64 " before the run, now %#" PRIx64 "\n", kept[n], before[n],
                vmcs(m.vcpu, kept[n]));
        exit(1);
    }
    end_machine(m);
}

int main(void) {
    void (*const each[])(hv_vcpuid_t) = {read_before_the_first_write, every_field_reads_back,
                                         registers_and_fields_are_one, no_field_is_another, numbers_that_are_none};
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    for (size_t n = 0; n < sizeof each / sizeof *each; ++n) {
        hv_vcpuid_t vcpu;
        CHECK(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT));
        each[n](vcpu);
        CHECK(hv_vcpu_destroy(vcpu));
    }
    CHECK(hv_vm_destroy());
    a_run_changes_nothing_else();
    puts("ok");
    return 0;
}
