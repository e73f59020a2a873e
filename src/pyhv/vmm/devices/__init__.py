"""Devices: each maps its registers to behaviour and knows neither its address, nor the VM, nor other devices."""
