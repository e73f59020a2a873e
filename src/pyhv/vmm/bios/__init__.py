"""The few BIOS services that small real-mode programs call, answered outside the guest."""

from __future__ import annotations
