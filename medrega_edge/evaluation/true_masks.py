"""True masks of annotated images: `masks.jsonl` in a folder with its PNGs, one object a line.

`id` is that of the record. `mask` is a PNG of the size of the image, whose numbers mean what `values` {label: number} says.
Where objects overlap, `masks` {label: PNG} stands instead. `labels_without_mask` are background in the PNG and not scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from medrega_edge.errors import UsageError
from medrega_edge.evaluation.json_lines import STRICT, Identifier, parse_lines, read_text
from medrega_edge.evaluation.records import AnnotatedRegion, Record
from medrega_edge.masks import Inside

FILE = "masks.jsonl"


@dataclass(frozen=True, config=STRICT)
class MaskLine:
    """The masks of one image; paths are relative to the folder of the file."""

    id: Identifier
    values: dict[str, int]
    mask: str | None = None
    masks: dict[str, str] | None = None
    labels_without_mask: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_a_picture(self) -> MaskLine:
        if (self.mask is None) == (self.masks is None):
            raise ValueError("one of mask and masks")
        return self

    def picture(self, label: str) -> str | None:
        """Return the path of the PNG with the mask of a label; None where it has none."""
        if label in self.labels_without_mask or label not in self.values:
            return None
        return self.mask if self.masks is None else self.masks.get(label)


_LINE = TypeAdapter(MaskLine)


def read_mask_lines(folder: Path) -> dict[str, MaskLine]:
    """Read `masks.jsonl` by the ids of records; raises UsageError that names the line at fault."""
    path = folder / FILE
    if not path.is_file():
        raise UsageError("bench.no_masks", folder=folder.name)
    return {line.id: line for _, _, line in parse_lines(read_text(path), _LINE, FILE, folder)}


def true_masks(folder: Path, line: MaskLine, record: Record) -> Iterator[tuple[AnnotatedRegion, Inside]]:
    """Yield the regions of a record that have a mask with a pixel, and it `[height, width]`; raises UsageError."""
    for region in record.targets:
        picture = line.picture(region.label_en)
        if picture is None:
            continue
        path = _inside(folder, picture)
        with Image.open(path) as image:
            inside: Inside = np.asarray(image) == line.values[region.label_en]
        if inside.shape != (record.height, record.width):
            raise UsageError("bench.mask_of_other_size", id=record.id)
        if inside.any():
            yield region, inside


def _inside(folder: Path, picture: str) -> Path:
    """Paths in the file may begin with the folder's own name."""
    for root in (folder, folder.parent):
        if (path := root / picture).is_file():
            return path
    raise UsageError("bench.mask_missing", file=picture)


def spread_over_sets(records: Sequence[Record], most: int | None) -> list[Record]:
    """Return at most so many records of each data set, spread evenly; all where `most` is None."""
    from medrega_edge.evaluation.questions import spread

    by_set: dict[str, list[Record]] = {}
    for record in records:
        by_set.setdefault(record.dataset, []).append(record)
    return [record for mine in by_set.values() for record in spread(mine, most)]
