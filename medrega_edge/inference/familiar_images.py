"""How near an image lies to those that the weights were trained on: far from all of them, no answer proves anything.

The distance is that of the mean image embedding to the nearest of some points of its kind of image, after whitening by the
covariance within data sets (Mahalanobis distance; Lee et al., 2018). Each point has the names that had boxes in the images
around it, their classes, and `ASKED` if they had free questions: far from all points with a name, its box or class proves
nothing. `medrega bench familiarity` finds points and limits.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medrega_edge.domain import Modality
from medrega_edge.errors import PackageError
from medrega_edge.inference.decoder import Floats
from medrega_edge.io.strict_json import JsonFault, load_json
from medrega_edge.package.manifest import FAMILIAR_IMAGES, FAMILIAR_NAMES, Familiarity
from medrega_edge.package.package import PackageContents

ASKED = "?"  # stands among the names for free questions
Names = Mapping[str, Mapping[str, Sequence[int]]]  # modality -> English name -> its points, counted from 0


class FamiliarImages:
    """Image embeddings -> whether the image, or a name in such an image, is unlike all that the weights have seen."""

    def __init__(self, table: npt.NDArray[np.floating], names: Names, known: Familiarity) -> None:
        """Take the table `[hidden + points, hidden]`: the whitening, then the points of the kinds, in their order."""
        table = table.astype(np.float32)
        first = table.shape[1]
        self._whitening = table[:first]
        self._points: dict[str, Floats] = {}
        self._limits = {kind: each.limit for kind, each in known.images.items()}
        self._names = names
        self._name_ratio = known.name_ratio
        self._last: tuple[Floats, Modality, Floats] | None = None  # a hundred names of one image are asked for in turn
        for kind, each in known.images.items():
            self._points[kind] = table[first : first + each.points]
            first += each.points

    @classmethod
    def read(cls, contents: PackageContents) -> FamiliarImages | None:
        """Read a package's files, None where it has none; raises PackageError."""
        manifest = contents.package.manifest
        known, hidden = manifest.familiarity, manifest.decoder.hidden
        if known is None:
            return None
        name = manifest.files[FAMILIAR_IMAGES].path
        try:
            table = np.load(io.BytesIO(contents[FAMILIAR_IMAGES]), allow_pickle=False)
        except (ValueError, OSError, EOFError):
            raise PackageError("package.wrong_table", file=name) from None
        rows = hidden + sum(kind.points for kind in known.images.values())
        if table.shape != (rows, hidden) or table.dtype != np.float16 or not np.isfinite(table).all():
            raise PackageError("package.wrong_table", file=name)
        return cls(table, _read_names(contents, known), known)

    def is_unfamiliar(self, embeds: Floats, modality: Modality) -> bool:
        """Whether an image, embedded as `[tokens, hidden]`, is farther than the limit; false for a kind without points."""
        distances = self._distances(embeds, modality)
        return distances is not None and bool(distances.min() > self._limits[modality])

    def is_unfamiliar_name(self, embeds: Floats, modality: Modality, english: str) -> bool:
        """Whether images like this one had no box of a name, and not this class; false for a kind without points."""
        distances = self._distances(embeds, modality)
        if distances is None:
            return False
        own = list(self._names.get(modality, {}).get(english, ()))
        return not own or bool(distances[own].min() > self._name_ratio * distances.min())

    def _distances(self, embeds: Floats, modality: Modality) -> Floats | None:
        if self._last is not None and self._last[0] is embeds and self._last[1] == modality:
            return self._last[2]
        if (points := self._points.get(modality)) is None:
            return None
        distances = distances_to(embeds.mean(axis=0) @ self._whitening, points)
        self._last = embeds, modality, distances
        return distances


def distances_to(place: Floats, points: Floats) -> Floats:
    """Return the distances `[n]` of a whitened embedding `[hidden]` to the points `[n, hidden]`."""
    return np.asarray(np.sqrt(np.square(points - place).sum(axis=1)), np.float32)


def _read_names(contents: PackageContents, known: Familiarity) -> Names:
    """Read the points of each name; raises PackageError."""
    file = contents.package.manifest.files[FAMILIAR_NAMES].path
    try:
        names = load_json(contents.text(FAMILIAR_NAMES))
    except JsonFault as fault:
        raise fault.package_error(file) from None
    if not isinstance(names, dict) or names.keys() != known.images.keys():
        raise PackageError("package.not_json", file=file)
    for kind, points in known.images.items():
        if not _are_points(names[kind], points.points):
            raise PackageError("package.wrong_value", file=file, key=kind)
    return names


def _are_points(names: Any, count: int) -> bool:
    """Whether a value is an object of lists of points."""
    if not isinstance(names, dict) or not all(isinstance(own, list) and own for own in names.values()):
        return False
    return all(type(point) is int and 0 <= point < count for own in names.values() for point in own)
