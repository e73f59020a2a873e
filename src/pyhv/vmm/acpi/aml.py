"""A small assembler for AML: each function gives the bytes of one term. ACPI 6.4, "AML Grammar Definition"."""

from __future__ import annotations

NAME_OP, STRING_PREFIX, SCOPE_OP, BUFFER_OP, PACKAGE_OP = 0x08, 0x0D, 0x10, 0x11, 0x12
DEVICE_OP = b"\x5b\x82"
ZERO_OP, ONE_OP = b"\x00", b"\x01"
_INTEGERS = ((1, 0x0A), (2, 0x0B), (4, 0x0C), (8, 0x0E))  # bytes, prefix
PACKAGE_ELEMENTS_MAX = 255


def integer(value: int) -> bytes:
    """The shortest constant."""
    if value in (0, 1):
        return ONE_OP if value else ZERO_OP
    for size, prefix in _INTEGERS:
        if 0 <= value < 1 << 8 * size:
            return bytes((prefix,)) + value.to_bytes(size, "little")
    raise ValueError(f"{value:#x} does not fit into an AML integer of 64 bits")


def string(text: str) -> bytes:
    return bytes((STRING_PREFIX,)) + text.encode("ascii") + b"\0"


def name_path(path: str) -> bytes:
    """`\\_SB_`, `PCI0`, `_CRS`: one segment of four characters, short ones filled with `_`, after an optional root."""
    root = b"\\" if path.startswith("\\") else b""
    segment = path.removeprefix("\\")
    clean = segment.replace("_", "A")
    if not 1 <= len(segment) <= 4 or not clean.isalnum() or clean != clean.upper() or segment[0].isdigit():
        raise ValueError(f"{path!r} is no AML name: up to four of A-Z, 0-9 and _, not a digit first")
    return root + segment.ljust(4, "_").encode("ascii")


def package_length(body_bytes: int) -> bytes:
    """The length of what follows, itself included. ACPI 6.4, "Package Length Encoding"."""
    if body_bytes + 1 < 1 << 6:
        return bytes((body_bytes + 1,))
    for extra in (1, 2, 3):
        total = body_bytes + 1 + extra
        if total < 1 << 4 + 8 * extra:
            return bytes((extra << 6 | total & 0xF,)) + (total >> 4).to_bytes(extra, "little")
    raise ValueError(f"{body_bytes} bytes are too many for one AML package")


def _enclosed(opcode: bytes, body: bytes) -> bytes:
    return opcode + package_length(len(body)) + body


def name(path: str, value: bytes) -> bytes:
    """`Name (path, value)`."""
    return bytes((NAME_OP,)) + name_path(path) + value


def scope(path: str, *terms: bytes) -> bytes:
    return _enclosed(bytes((SCOPE_OP,)), name_path(path) + b"".join(terms))


def device(path: str, *terms: bytes) -> bytes:
    return _enclosed(DEVICE_OP, name_path(path) + b"".join(terms))


def package(*elements: bytes) -> bytes:
    if len(elements) > PACKAGE_ELEMENTS_MAX:
        raise ValueError(f"an AML package of {len(elements)} elements; {PACKAGE_ELEMENTS_MAX} can be")
    return _enclosed(bytes((PACKAGE_OP,)), bytes((len(elements),)) + b"".join(elements))


def buffer(data: bytes) -> bytes:
    return _enclosed(bytes((BUFFER_OP,)), integer(len(data)) + data)


def eisa_id(text: str) -> bytes:
    """`EisaId ("PNP0A03")`: three letters of five bits, four digits, the bytes turned round."""
    if len(text) != 7 or not text[:3].isupper():
        raise ValueError(f"{text!r} is no EISA id such as PNP0A03")
    letters = [ord(letter) - 0x40 for letter in text[:3]]
    number = letters[0] << 26 | letters[1] << 21 | letters[2] << 16 | int(text[3:], 16)
    return integer(int.from_bytes(number.to_bytes(4, "big"), "little"))
