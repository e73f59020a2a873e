"""The kernel inside a bzImage: found by its setup header, unpacked here, which is faster than the guest's own code.

Linux, Documentation/arch/x86/boot.rst, "payload_offset": the formats, and that the payload unpacks to an ELF file.
The four bytes at its end are the unpacked size (scripts/Makefile.lib, "size_append"); gzip has them of its own.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable

from ..plan import ImageError

LZ4_LEGACY_BLOCK = 8 << 20  # what a block unpacks to at most; LZ4 Frame Format Description, "Legacy frame"
UNPACKED_MAX = 1 << 30
SIZE_BYTES = 4


def unpack(payload: bytes) -> bytes | None:
    """The kernel, or None where nobody here knows the packing (LZO) and the kernel has to unpack itself.

    Raises ImageError for damaged data.
    """
    found = next((way for magic, way in _WAYS if payload.startswith(magic)), None)
    if found is None:
        return None
    try:
        kernel = found(payload)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError) as error:
        raise ImageError(f"the kernel inside the image cannot be unpacked: {error}") from None
    if not kernel.startswith(b"\x7fELF"):
        raise ImageError("the kernel inside the image is damaged: what it unpacks to is no ELF file")
    return kernel


def _gzip(data: bytes) -> bytes:
    return _bounded(zlib.decompressobj(16 + zlib.MAX_WBITS), data)


def _xz(data: bytes) -> bytes:
    return _bounded(lzma.LZMADecompressor(lzma.FORMAT_XZ), data)


def _lzma(data: bytes) -> bytes:
    return _bounded(lzma.LZMADecompressor(lzma.FORMAT_ALONE), data)


def _bzip2(data: bytes) -> bytes:
    return _bounded(bz2.BZ2Decompressor(), data)


def _zstd(data: bytes) -> bytes:
    import zstandard  # noqa: PLC0415 - few kernels need it, and every start of `hv` would wait for it

    packed, size = _sized(data)
    try:
        unpacked = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size, allow_extra_data=True)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    return _checked(unpacked, size)


def _lz4(data: bytes) -> bytes:
    """Blocks, each behind its packed size."""
    import lz4.block  # noqa: PLC0415 - as above

    packed, size = _sized(data)
    unpacked, at = bytearray(), 4
    while at + 4 <= len(packed) and len(unpacked) < size:
        (block_bytes,) = struct.unpack_from("<I", packed, at)
        block = packed[at + 4 : at + 4 + block_bytes]
        if not block_bytes or len(block) < block_bytes:
            raise ValueError(f"an LZ4 block of {block_bytes} bytes is cut off after {len(block)}")
        try:
            unpacked += lz4.block.decompress(block, uncompressed_size=LZ4_LEGACY_BLOCK)
        except lz4.block.LZ4BlockError as error:
            raise ValueError(str(error)) from None
        at += 4 + block_bytes
    return _checked(bytes(unpacked), size)


def _bounded(stream: zlib._Decompress | lzma.LZMADecompressor | bz2.BZ2Decompressor, data: bytes) -> bytes:
    unpacked = stream.decompress(data, UNPACKED_MAX)
    if not stream.eof:
        raise ValueError("the packed data end before the stream does")
    return unpacked


def _sized(data: bytes) -> tuple[bytes, int]:
    size = int.from_bytes(data[-SIZE_BYTES:], "little")
    if not 0 < size <= UNPACKED_MAX:
        raise ValueError(f"its last four bytes say that it unpacks to {size} bytes")
    return data[:-SIZE_BYTES], size


def _checked(unpacked: bytes, size: int) -> bytes:
    if len(unpacked) != size:
        raise ValueError(f"it unpacks to {len(unpacked)} bytes instead of {size}")
    return unpacked


_WAYS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"\xfd7zXZ\x00", _xz),
    (b"\x5d\x00\x00", _lzma),
    (b"BZh", _bzip2),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x02\x21\x4c\x18", _lz4),
)
