"""PCI: functions with their configuration space, MSI-X, and the host bridge that finds them.

PCI Local Bus Specification 3.0.
"""
