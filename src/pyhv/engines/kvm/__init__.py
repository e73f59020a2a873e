"""KVM as an engine: its entry says honestly what this machine has, and that this version cannot use it yet."""

from .engine import KvmEngine as KvmEngine
