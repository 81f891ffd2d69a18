"""Images that clients have sent, by the hash of their bytes. They stay in memory, and the oldest leave when it is full."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from medrega_edge.errors import ImageError

ENTRY_BYTES = 1000  # what a file takes beside its bytes, so that tiny ones reach the limit, too


class ImageStore:
    """Bytes of files, `limit` in all; `size` is what they take."""

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self._limit, self._files, self.size = limit, OrderedDict[str, bytes](), 0
        self._lock = threading.RLock()  # files are hashed and put in by threads

    def __len__(self) -> int:
        """Number of files."""
        return len(self._files)

    def put(self, data: bytes) -> str:
        """Take in a file; returns its hash."""
        image = hashlib.sha256(data).hexdigest()
        with self._lock:
            self.remove(image)
            self._files[image] = data
            self.size += len(data) + ENTRY_BYTES
            while len(self._files) > 1 and self.size > self._limit:
                self.remove(next(iter(self._files)))
        return image

    def get(self, image: str) -> bytes:
        """Return a file; raises ImageError for one that is not there, or not any more."""
        with self._lock:
            try:
                self._files.move_to_end(image)
            except KeyError:
                raise ImageError("server.no_such_image") from None
            return self._files[image]

    def remove(self, image: str) -> None:
        """Remove a file, if it is there."""
        with self._lock:
            if (data := self._files.pop(image, None)) is not None:
                self.size -= len(data) + ENTRY_BYTES
