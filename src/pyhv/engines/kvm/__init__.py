"""KVM as an engine: Linux's own hypervisor, in Python over ioctl."""

from .engine import KvmEngine as KvmEngine
