"""The vision tower: pixels in, image embeddings out."""

from __future__ import annotations

from typing import cast

from medrega_edge.inference.decoder import Floats
from medrega_edge.inference.devices import open_session
from medrega_edge.package.manifest import VisionSpec
from medrega_edge.package.package import PackageContents


class VisionEncoder:
    """Pixel values -> image embeddings."""

    def __init__(self, contents: PackageContents, threads: int, device: str, mapped: bool = False) -> None:
        """Load the graph; `mapped` leaves weights with a file of their own on the disk.

        Raises PackageError or ResourceError.
        """
        self.spec: VisionSpec = contents.package.manifest.vision
        self._session = open_session(contents, "vision", threads, device, {self.spec.input}, {self.spec.output}, mapped)

    def encode(self, pixel_values: Floats) -> Floats:
        """Map float32 `[1, 3, image_size, image_size]` to `[tokens, hidden]`."""
        (embeds,) = self._session.run([self.spec.output], {self.spec.input: pixel_values})
        return cast(Floats, embeds[0])
