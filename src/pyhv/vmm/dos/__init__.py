"""A small DOS: the INT 21h services that .COM programs need, answered outside the guest. Files are read-only.

Function numbers and registers: Microsoft MS-DOS Programmer's Reference, version 5.
"""

from __future__ import annotations

from .endings import DosProgramEnded as DosProgramEnded
from .files import Files as Files
from .kernel import DosKernel as DosKernel
from .kernel import decode_interrupt as decode_interrupt
