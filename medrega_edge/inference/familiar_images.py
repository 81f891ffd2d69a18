"""How near an image lies to those that the weights were trained on: far from all of them, no answer proves anything.

The distance is that of the mean image embedding to the nearest of some points of its kind of image, after whitening by the
covariance within data sets (Mahalanobis distance; Lee et al., 2018). `medrega bench familiarity` finds points and limits.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from medrega_edge.domain import Modality
from medrega_edge.errors import PackageError
from medrega_edge.inference.decoder import Floats
from medrega_edge.package.manifest import FAMILIAR_IMAGES, FamiliarKind
from medrega_edge.package.package import PackageContents


class FamiliarImages:
    """Image embeddings -> whether the image is unlike all that the weights have seen of its kind."""

    def __init__(self, table: npt.NDArray[np.floating], kinds: Mapping[str, FamiliarKind]) -> None:
        """Take the table `[hidden + points, hidden]`: the whitening, then the points of the `kinds`, in their order."""
        table = table.astype(np.float32)
        first = table.shape[1]
        self._whitening = table[:first]
        self._points: dict[str, Floats] = {}
        self._limits = {kind: known.limit for kind, known in kinds.items()}
        for kind, known in kinds.items():
            self._points[kind] = table[first : first + known.points]
            first += known.points

    @classmethod
    def read(cls, contents: PackageContents) -> FamiliarImages:
        """Read a package's file; raises PackageError."""
        manifest = contents.package.manifest
        kinds = manifest.familiarity.images if manifest.familiarity else {}
        name, hidden = manifest.files[FAMILIAR_IMAGES].path, manifest.decoder.hidden
        try:
            table = np.load(io.BytesIO(contents[FAMILIAR_IMAGES]), allow_pickle=False)
        except (ValueError, OSError, EOFError):
            raise PackageError("package.wrong_table", file=name) from None
        rows = hidden + sum(kind.points for kind in kinds.values())
        if table.shape != (rows, hidden) or table.dtype != np.float16 or not np.isfinite(table).all():
            raise PackageError("package.wrong_table", file=name)
        return cls(table, kinds)

    def is_unfamiliar(self, embeds: Floats, modality: Modality) -> bool:
        """Whether an image, embedded as `[tokens, hidden]`, is farther than the limit; false for a kind without points."""
        points = self._points.get(modality)
        if points is None:
            return False
        return distance(embeds.mean(axis=0) @ self._whitening, points) > self._limits[modality]


def distance(place: Floats, points: Floats) -> float:
    """Return the distance of a whitened embedding `[hidden]` to the nearest of the points `[n, hidden]`."""
    return float(np.sqrt(np.square(points - place).sum(axis=1).min()))
