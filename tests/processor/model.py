"""What paging allows, written from the tables of the SDM and not from our code. Intel SDM vol. 3, chapter "Paging"."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Literal

Access = Literal["read", "write", "fetch"]


class Fault(IntFlag):
    """ "Page-Fault Exceptions": the bits of the error code."""

    PRESENT = 1
    WRITE = 2
    USER = 4
    RESERVED = 8
    FETCH = 16


@dataclass(frozen=True)
class Controls:
    """What beside the tables decides: CR0.WP, CR4.SMEP, CR4.SMAP, EFLAGS.AC, EFER.NXE, entries of 8 bytes."""

    wp: bool
    smep: bool
    smap: bool
    ac: bool
    nxe: bool
    wide: bool


@dataclass(frozen=True)
class Rights:
    """U/S and R/W, each the AND of all levels; XD, the OR."""

    user: bool
    writable: bool
    no_execute: bool


def allowed(access: Access, ring: int, rights: Rights, c: Controls) -> bool:
    """ "Determination of Access Rights", sentence by sentence, for explicit accesses."""
    execute_disabled = rights.no_execute and c.nxe and c.wide
    if ring == 3:
        if not rights.user:
            return False
        if access == "write":
            return rights.writable
        return not (access == "fetch" and execute_disabled)
    if access == "fetch":
        if rights.user and c.smep:
            return False
        return not execute_disabled
    if rights.user and c.smap and not c.ac:
        return False
    return access == "read" or rights.writable or not c.wp


def error_code(access: Access, ring: int, c: Controls, *, present: bool = True, reserved: bool = False) -> int:
    """ "Page-Fault Exceptions": what each bit of the error code says."""
    code = Fault(0)
    if present:
        code |= Fault.PRESENT
    if access == "write":
        code |= Fault.WRITE
    if ring == 3:
        code |= Fault.USER
    if reserved:
        code |= Fault.RESERVED
    if access == "fetch" and (c.smep or (c.wide and c.nxe)):
        code |= Fault.FETCH
    return int(code)
