"""Guest architectures as data and declared layouts: registers, VMCS fields, MSRs, control bits.

Imports nothing of pyhv.
"""
