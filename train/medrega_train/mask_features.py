"""What a package's mask encoder makes of the images that have true masks, computed once and kept on disk.

While the encoder stands still, an image always has the same features; the decoder then trains on them alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medrega_edge.evaluation.records import Record
from medrega_edge.images.reader import read_image
from medrega_edge.inference.mask_head import MaskHead
from medrega_edge.io.atomic import write_text

_EACH = 20  # images between two notes of how far it is


def mask_features(head: MaskHead, records: Sequence[Record], folder: Path) -> npt.NDArray[np.float16]:
    """Return the features of some images, float16 `[images, W, G, G]`; what `folder` has is not computed again."""
    folder.mkdir(parents=True, exist_ok=True)
    filled, file = folder / "filled.txt", folder / "features.f16"
    done = int(filled.read_text("utf-8")) if filled.is_file() else 0
    _, places, width = head.encode(read_image(records[0].image)).embedding.shape
    grid = math.isqrt(places)
    shape = (len(records), width, grid, grid)
    table = np.memmap(file, np.float16, "r+" if file.is_file() else "w+", shape=shape)
    for number in range(done, len(records)):
        embedding = head.encode(read_image(records[number].image)).embedding
        table[number] = embedding[0].T.reshape(shape[1:])
        if (number + 1) % _EACH == 0 or number + 1 == len(records):
            table.flush()
            write_text(filled, str(number + 1))
    return table
