"""Status flags that the manual leaves undefined after an instruction, so that processors differ in them.

SDM vol. 1, appendix "EFLAGS Cross-Reference", and vol. 2 for the bit-manipulation instructions.
"""

from __future__ import annotations

from typing import Final

_CF, _PF, _AF, _ZF, _SF, _OF = 1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 11

_UNDEFINED: Final = {
    "and or xor test": _AF,
    "shl sal shr sar shld shrd": _AF | _OF,
    "rcl rcr rol ror daa das": _OF,
    "mul imul": _SF | _ZF | _AF | _PF,
    "div idiv": _CF | _OF | _SF | _ZF | _AF | _PF,
    "bsf bsr": _CF | _OF | _SF | _AF | _PF,
    "bt bts btr btc": _OF | _SF | _AF | _PF,
    "aam aad": _OF | _AF | _CF,
    "aaa aas": _OF | _SF | _ZF | _PF,
    "andn blsi blsmsk blsr bzhi": _AF | _PF,
    "bextr": _AF | _SF | _PF,
    "lzcnt tzcnt": _OF | _SF | _PF | _AF,
}
_BY_NAME: Final = {name: mask for names, mask in _UNDEFINED.items() for name in names.split()}


def undefined_after(text: str) -> int:
    """The flags that an instruction, as the disassembler writes it, leaves undefined."""
    words = text.replace("lock ", "").split()
    return _BY_NAME.get(words[0], 0) if words else 0
