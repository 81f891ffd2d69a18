"""Inflating of compressed files up to a limit, at which a compression bomb is refused."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import MAX_BYTES

MAX_INFLATED = 128 * 1024 * 1024  # bytes of a stream that is held as a whole
_CHUNK = 1 << 20


def inflate(data: bytes, wbits: int, name: Message) -> bytes:
    """Inflate a zlib stream of at most MAX_INFLATED bytes; raises ImageError. `wbits` is that of `zlib.decompress`."""
    stream = zlib.decompressobj(wbits)
    with compression_errors(name):
        plain = stream.decompress(data, MAX_INFLATED + 1)
    if len(plain) > MAX_INFLATED:
        raise ImageError("image.inflates_too_far", image=name, limit=MAX_INFLATED >> 20)
    if not stream.eof:
        raise ImageError("image.damaged_compression", image=name)
    return plain


class GzipReader(gzip.GzipFile):
    """The inflated bytes of all members of a gzip file. A read without a limit raises ValueError."""

    def __init__(self, data: bytes) -> None:
        super().__init__(fileobj=io.BytesIO(data))

    def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes or what is left; `size` is MAX_BYTES at most."""
        if size is None or not 0 <= size <= MAX_BYTES:
            raise ValueError("a read without a limit")
        return super().read(size)

    def read_to_end(self) -> int:
        """Read what is left, which checks the sums, up to MAX_BYTES; returns the number of all bytes."""
        while self.tell() <= MAX_BYTES and self.read(_CHUNK):
            pass
        return self.tell()


@contextmanager
def compression_errors(name: Message) -> Iterator[None]:
    """Turn what a damaged compressed stream raises into an ImageError."""
    try:
        yield
    except (zlib.error, gzip.BadGzipFile, EOFError):
        raise ImageError("image.damaged_compression", image=name) from None
