"""The three kinds of address, as types: parameters are plain ints, results and exit fields are typed."""

from typing import NewType

GPA = NewType("GPA", int)
"""A guest-physical address (Arm: IPA), what the guest's page tables translate to and ours translate from."""

GVA = NewType("GVA", int)
"""A guest-virtual address: on x86 the linear address, after segmentation."""

HVA = NewType("HVA", int)
"""A host-virtual address, in the address space of this process."""
