"""What a terminal sends for a key, as the scan codes of a US keyboard. Set 1: IBM PC/AT Technical Reference."""

from __future__ import annotations

from collections.abc import Sequence

_ROWS = (  # (code of the first key, keys, the same with Shift)
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1E, "asdfghjkl;'`", 'ASDFGHJKL:"~'),
    (0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (0x39, " ", " "),
)
_PLAIN = {0x1B: 0x01, 0x08: 0x0E, 0x7F: 0x0E, 0x09: 0x0F, 0x0D: 0x1C, 0x0A: 0x1C}  # Escape, Backspace, Tab, Enter
_SEQUENCES = {
    b"[A": (0xE0, 0x48), b"[B": (0xE0, 0x50), b"[C": (0xE0, 0x4D), b"[D": (0xE0, 0x4B),
    b"[H": (0xE0, 0x47), b"[F": (0xE0, 0x4F), b"[1~": (0xE0, 0x47), b"[4~": (0xE0, 0x4F),
    b"[2~": (0xE0, 0x52), b"[3~": (0xE0, 0x53), b"[5~": (0xE0, 0x49), b"[6~": (0xE0, 0x51),
    b"OP": (0x3B,), b"OQ": (0x3C,), b"OR": (0x3D,), b"OS": (0x3E,),
    b"[11~": (0x3B,), b"[12~": (0x3C,), b"[13~": (0x3D,), b"[14~": (0x3E,), b"[[A": (0x3B,), b"[[B": (0x3C,),
    b"[15~": (0x3F,), b"[17~": (0x40,), b"[18~": (0x41,), b"[19~": (0x42,), b"[20~": (0x43,), b"[21~": (0x44,),
    b"[23~": (0x57,), b"[24~": (0x58,),
}  # fmt: skip
_SHIFT, _CONTROL = 0x2A, 0x1D
RELEASE = 0x80
ESCAPE = 0x1B


def _characters() -> dict[int, tuple[int, int]]:
    """Character → (key held with it or 0, key)."""
    found = {code: (0, key) for code, key in _PLAIN.items()}
    for first, plain, shifted in _ROWS:
        for number, (low, high) in enumerate(zip(plain, shifted, strict=True)):
            found[ord(low)] = (0, first + number)
            found.setdefault(ord(high), (_SHIFT, first + number))
            if low.isalpha():
                found.setdefault(ord(low) & 0x1F, (_CONTROL, first + number))
    return found


_CHARACTERS = _characters()


def scan_codes(typed: Sequence[int]) -> bytes:
    """Keys down and up again for what a terminal sent at once; characters that no key has are left out.

    An escape character that begins no known sequence is the Escape key.
    """
    codes, data, at = bytearray(), bytes(typed), 0
    while at < len(data):
        sequence = _sequence(data, at + 1) if data[at] == ESCAPE else None
        if sequence:
            codes += _stroke(_SEQUENCES[sequence])
            at += 1 + len(sequence)
            continue
        held, key = _CHARACTERS.get(data[at], (0, 0))
        if key:
            codes += bytes([held]) * bool(held) + _stroke((key,)) + bytes([held | RELEASE]) * bool(held)
        at += 1
    return bytes(codes)


def _sequence(data: bytes, at: int) -> bytes | None:
    return next((found for found in _SEQUENCES if data.startswith(found, at)), None)


def _stroke(key: tuple[int, ...]) -> bytes:
    return bytes((*key, *key[:-1], key[-1] | RELEASE))
