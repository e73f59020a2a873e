"""virtio 1.2 devices: split queues, the PCI transport, and what lies behind them. OASIS, "Virtual I/O Device"."""
