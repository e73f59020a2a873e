"""The x86-64 guest: register and VMCS ids, MSR numbers, the layouts of flags, control registers and descriptors."""
