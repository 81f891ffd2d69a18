"""The vision tower: pixels in, image embeddings out, and the maps that a region head reads."""

from __future__ import annotations

from dataclasses import dataclass

from medrega_edge.inference.decoder import Floats
from medrega_edge.inference.devices import check_shape, open_session
from medrega_edge.inference.region_head import RegionMaps
from medrega_edge.package.manifest import VisionSpec
from medrega_edge.package.package import PackageContents


@dataclass(frozen=True, eq=False)
class VisualFeatures:
    """What the tower makes of an image: `embeds` `[tokens, hidden]`, and maps where the package has a region head."""

    embeds: Floats
    maps: RegionMaps | None


class VisionEncoder:
    """Pixel values -> visual features."""

    def __init__(self, contents: PackageContents, threads: int, device: str, mapped: bool = False) -> None:
        """Load the graph; `mapped` leaves weights with a file of their own on the disk.

        Raises PackageError or ResourceError.
        """
        manifest = contents.package.manifest
        self.spec: VisionSpec = manifest.vision
        regions = manifest.regions
        self._outputs = [self.spec.output] + ([regions.places, regions.fine, regions.tokens] if regions else [])
        self._session = open_session(contents, "vision", threads, device, {self.spec.input}, set(self._outputs), mapped)
        if regions:
            check_shape(self._session, "vision", regions.places, (1, None, None))
            check_shape(self._session, "vision", regions.tokens, (1, None, manifest.decoder.hidden))
            check_shape(self._session, "vision", regions.fine, (1, None, regions.bins, regions.bins))

    def encode(self, pixel_values: Floats) -> VisualFeatures:
        """Encode float32 `[1, 3, image_size, image_size]`."""
        embeds, *maps = self._session.run(self._outputs, {self.spec.input: pixel_values})
        return VisualFeatures(embeds[0], RegionMaps(*maps) if maps else None)
