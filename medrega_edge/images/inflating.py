"""Inflating of compressed files up to a limit, at which a compression bomb is refused."""

from __future__ import annotations

import zlib

from medrega_edge.errors import ImageError

MAX_INFLATED = 128 * 1024 * 1024  # bytes


def inflate(data: bytes, wbits: int, name: str) -> bytes:
    """Inflate a zlib stream of at most MAX_INFLATED bytes; raises ImageError. `wbits` is that of `zlib.decompress`."""
    stream = zlib.decompressobj(wbits)
    try:
        plain = stream.decompress(data, MAX_INFLATED + 1)
    except zlib.error:
        raise ImageError(f"{name} is damaged or incomplete and cannot be decompressed; export it again.") from None
    if len(plain) > MAX_INFLATED:
        raise ImageError(f"{name} inflates to more than {MAX_INFLATED >> 20} MiB; export it uncompressed.")
    if not stream.eof:
        raise ImageError(f"{name} is damaged or incomplete and cannot be decompressed; export it again.")
    return plain
