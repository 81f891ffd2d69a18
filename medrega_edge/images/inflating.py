"""Inflating of compressed files up to a limit, at which a compression bomb is refused."""

from __future__ import annotations

import zlib

from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message

MAX_INFLATED = 128 * 1024 * 1024  # bytes


def inflate(data: bytes, wbits: int, name: Message) -> bytes:
    """Inflate a zlib stream of at most MAX_INFLATED bytes; raises ImageError. `wbits` is that of `zlib.decompress`."""
    stream = zlib.decompressobj(wbits)
    try:
        plain = stream.decompress(data, MAX_INFLATED + 1)
    except zlib.error:
        raise ImageError("image.damaged_compression", image=name) from None
    if len(plain) > MAX_INFLATED:
        raise ImageError("image.inflates_too_far", image=name, limit=MAX_INFLATED >> 20)
    if not stream.eof:
        raise ImageError("image.damaged_compression", image=name)
    return plain
